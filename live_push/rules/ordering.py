"""Decide the order in which the deliveries of one pair are sent. Pure.

A *pair* is an endpoint and a profile. Each pair has at most one delivery under way. From the deliveries of a pair that
have not ended, this module selects the next one to send, and those that a newer snapshot has superseded.

The deliveries of a pair are ordered by position, then by id. The position is the sequence of the push. A resend gets
its sequence only when it is first sent; until then its position is after all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery of a pair that has not ended.

    ``position``
        Its place in the order of the pair.
    ``drawn``
        Whether its push has its sequence and snapshot. Only a resend that was not sent yet has not.
    ``sending``
        Whether it is under way.
    ``due``
        Whether its next attempt is due.
    ``run_attempts``
        The number of attempts in its current run.
    """

    delivery_id: int
    position: int
    drawn: bool
    sending: bool
    due: bool
    run_attempts: int


@dataclass(frozen=True, slots=True)
class NextAndSuperseded:
    """What to do with the deliveries of a pair.

    ``next_id``
        The id of the delivery that may be claimed; ``None`` if none may be claimed now.
    ``superseded``
        The ids of the deliveries to cancel, because the client gets or has a newer snapshot.
    """

    next_id: int | None
    superseded: tuple[int, ...]


def next_and_superseded(pair: Sequence[Waiting], *, ordering: str, confirmed: int) -> NextAndSuperseded:
    """Return which delivery of a pair is next, and which ones are superseded.

    ``ordering`` is the setting of the endpoint: ``in_order``, ``latest_only`` or ``strict``. ``confirmed`` is the
    sequence that the endpoint accepted last; 0 for none. Example: with ``latest_only``, of the sequences 10, 20 and 30
    the one with 30 is next, and those with 10 and 20 are superseded.
    """
    pair = sorted(pair, key=lambda delivery: (delivery.position, delivery.delivery_id))
    pending = [delivery for delivery in pair if not delivery.sending]
    superseded = [delivery for delivery in pending if _is_superseded(delivery, pair, ordering, confirmed)]
    if len(pending) < len(pair):
        return NextAndSuperseded(None, _ids(superseded))
    remaining = [delivery for delivery in pending if delivery not in superseded]
    first = remaining[0] if remaining else None
    return NextAndSuperseded(first.delivery_id if first and first.due else None, _ids(superseded))


def _ids(deliveries: Sequence[Waiting]) -> tuple[int, ...]:
    return tuple(delivery.delivery_id for delivery in deliveries)


def _is_superseded(delivery: Waiting, pair: Sequence[Waiting], ordering: str, confirmed: int) -> bool:
    if delivery.drawn and delivery.position <= confirmed:
        return True
    if not delivery.drawn:
        # A resend sends the current state. Every delivery recorded later sends a state that is at least as new.
        return any(other.delivery_id > delivery.delivery_id for other in pair)
    newer = any(_is_newer(other, delivery) for other in pair)
    if ordering == "latest_only":
        return newer
    return ordering == "in_order" and delivery.run_attempts > 0 and newer


def _is_newer(other: Waiting, delivery: Waiting) -> bool:
    if other.drawn:
        return other.position > delivery.position
    # A resend that was recorded later is newer. But if it is spread over time and not due yet, the delivery goes first.
    return other.delivery_id > delivery.delivery_id and other.due
