"""May this endpoint be tried now?

Five failures in a row that are the endpoint's own open the breaker. It rests for 30 seconds, then lets one probe
through; each failed probe doubles the rest, up to ten minutes; a success closes it. While it rests, deliveries stay
pending and use up no attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

FAILURES_TO_OPEN: Final = 5
FIRST_REST_SECONDS: Final = 30
MOST_REST_SECONDS: Final = 600


@dataclass(frozen=True)
class Breaker:
    """The state, as it is stored beside the endpoint and shared by all workers.

    ``state``
        ``closed``: try. ``open``: rest, then probe. ``half_open``: one probe is under way.
    ``failures_in_row``
        Failures that count, since the last success.
    ``rest_seconds``
        How long the present rest was meant to be; 0 while closed.
    ``rests_until``
        Aware. While closed, the rest that the client asked for, if any. While half open, the end of the probe's
        lease: a probe whose worker died must not keep the endpoint shut for ever.
    """

    state: Literal["closed", "open", "half_open"] = "closed"
    failures_in_row: int = 0
    rest_seconds: int = 0
    rests_until: datetime | None = None


def may_try(breaker: Breaker, now: datetime) -> Literal["go", "probe", "rest"]:
    """``go``: send as usual; ``probe``: send one, after :func:`start_probe`; ``rest``: send nothing yet."""
    if breaker.rests_until is not None and now < breaker.rests_until:
        return "rest"
    return "go" if breaker.state == "closed" else "probe"


def start_probe(breaker: Breaker, now: datetime, lease_seconds: float) -> Breaker:
    """The one probe begins; until it is settled, or its lease is over, there is no other."""
    return replace(breaker, state="half_open", rests_until=now + timedelta(seconds=lease_seconds))


def after_failure(breaker: Breaker, now: datetime) -> Breaker:
    """An attempt failed and the endpoint is at fault."""
    failures = breaker.failures_in_row + 1
    if breaker.state == "closed" and failures < FAILURES_TO_OPEN:
        return replace(breaker, failures_in_row=failures)
    if breaker.state == "open":
        # Attempts that were under way when it opened end later: they say nothing new, and must not lengthen the rest.
        return replace(breaker, failures_in_row=failures)
    rest = min(max(2 * breaker.rest_seconds, FIRST_REST_SECONDS), MOST_REST_SECONDS)
    opened = Breaker("open", failures, rest, now + timedelta(seconds=rest))
    # A rest that the client asked for while closed may be the longer one. A probe's lease is no rest.
    return _resting(opened, breaker.rests_until) if breaker.state == "closed" else opened


def after_success(breaker: Breaker) -> Breaker:
    """An attempt succeeded: the breaker closes. A rest that the client asked for while closed stays."""
    return Breaker(rests_until=breaker.rests_until if breaker.state == "closed" else None)


def after_neutral_failure(breaker: Breaker, now: datetime) -> Breaker:
    """An attempt failed and the endpoint is not at fault: it neither counts nor resets.

    A probe that ends so has proved nothing; the next probe may follow at once.
    """
    return replace(breaker, state="open", rests_until=now) if breaker.state == "half_open" else breaker


def rest_asked(breaker: Breaker, now: datetime, seconds: float) -> Breaker:
    """The client asked for a rest (``Retry-After``); a longer rest that is under way stays.

    To be called after the function that tells how the attempt ended.
    """
    return _resting(breaker, now + timedelta(seconds=seconds))


def _resting(breaker: Breaker, until: datetime | None) -> Breaker:
    if until is None or (breaker.rests_until is not None and until <= breaker.rests_until):
        return breaker
    return replace(breaker, rests_until=until)
