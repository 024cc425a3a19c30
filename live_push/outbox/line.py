"""Pure: of one pair's waiting deliveries, which is next and which give way.

A pair is an endpoint and a profile; its line is ordered by position (the push's sequence, or the end of the line while
none is drawn), and among equals by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One live delivery in its pair's line."""

    delivery_id: int
    position: int
    drawn: bool
    sending: bool
    due: bool
    run_attempts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """``next_id`` may be claimed (``None``: the pair waits); ``giving_way`` are made pointless by a newer state."""

    next_id: int | None
    giving_way: tuple[int, ...]


def arrange(line: Sequence[Place], *, ordering: str, confirmed: int) -> Verdict:
    """Judge one pair's line. ``ordering`` is the endpoint's; ``confirmed`` the sequence it accepted last (0: none)."""
    line = sorted(line, key=lambda place: (place.position, place.delivery_id))
    waiting = [place for place in line if not place.sending]
    giving_way = [place for place in waiting if _is_pointless(place, line, ordering, confirmed)]
    if len(waiting) < len(line):
        return Verdict(None, _ids(giving_way))
    staying = [place for place in waiting if place not in giving_way]
    first = staying[0] if staying else None
    return Verdict(first.delivery_id if first and first.due else None, _ids(giving_way))


def _ids(places: Sequence[Place]) -> tuple[int, ...]:
    return tuple(place.delivery_id for place in places)


def _is_pointless(place: Place, line: Sequence[Place], ordering: str, confirmed: int) -> bool:
    if place.drawn and place.position <= confirmed:
        return True
    if not place.drawn:
        # A resend of the current state: whatever was recorded after it carries a state at least as new.
        return any(other.delivery_id > place.delivery_id for other in line)
    newer = any(_carries_newer(other, place) for other in line)
    if ordering == "latest_only":
        return newer
    return ordering == "in_order" and place.run_attempts > 0 and newer


def _carries_newer(other: Place, place: Place) -> bool:
    if other.drawn:
        return other.position > place.position
    # A resend that was recorded later. One that is spread over time is no reason to hold back what could go earlier.
    return other.delivery_id > place.delivery_id and other.due
