"""The circuit breaker: decide whether an endpoint may be sent to now.

Five failures in a row for which the endpoint is at fault open the breaker. The endpoint then rests for 30 seconds, and
one probe is sent. Each failed probe doubles the rest, up to ten minutes. A success closes the breaker. During a rest,
deliveries stay pending and use up no attempt.
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
    """The state of the breaker. It is stored with the endpoint, and all workers share it.

    ``state``
        ``closed``: try. ``open``: rest, then probe. ``half_open``: one probe is under way.
    ``failures_in_row``
        The number of failures since the last success for which the endpoint is at fault.
    ``rest_seconds``
        The length of the current rest; 0 while closed.
    ``rests_until``
        An aware datetime. While closed, the end of the rest that ``Retry-After`` requested, if any. While half open,
        the end of the probe's lease, so that a probe whose worker died does not block the endpoint for ever.
    """

    state: Literal["closed", "open", "half_open"] = "closed"
    failures_in_row: int = 0
    rest_seconds: int = 0
    rests_until: datetime | None = None


def may_try(breaker: Breaker, now: datetime) -> Literal["go", "probe", "rest"]:
    """Return whether an endpoint may be sent to now.

    ``go``: send as usual. ``probe``: send one push, after :func:`start_probe`. ``rest``: send nothing yet.
    """
    if breaker.rests_until is not None and now < breaker.rests_until:
        return "rest"
    return "go" if breaker.state == "closed" else "probe"


def start_probe(breaker: Breaker, now: datetime, lease_seconds: float) -> Breaker:
    """Return the state after the start of a probe. The next probe waits until this one is settled or its lease ends."""
    return replace(breaker, state="half_open", rests_until=now + timedelta(seconds=lease_seconds))


def after_failure(breaker: Breaker, now: datetime) -> Breaker:
    """Return the state after a failed attempt for which the endpoint is at fault."""
    failures = breaker.failures_in_row + 1
    if breaker.state == "closed" and failures < FAILURES_TO_OPEN:
        return replace(breaker, failures_in_row=failures)
    if breaker.state == "open":
        # Attempts that were in flight when the breaker opened end later. They must not lengthen the rest.
        return replace(breaker, failures_in_row=failures)
    rest = min(max(2 * breaker.rest_seconds, FIRST_REST_SECONDS), MOST_REST_SECONDS)
    opened = Breaker("open", failures, rest, now + timedelta(seconds=rest))
    # A requested rest from before may be longer. While half open, rests_until is the probe's lease, not a rest.
    return _resting(opened, breaker.rests_until) if breaker.state == "closed" else opened


def after_success(breaker: Breaker) -> Breaker:
    """Return the closed state after a success. A rest that was requested while closed stays."""
    return Breaker(rests_until=breaker.rests_until if breaker.state == "closed" else None)


def after_neutral_failure(breaker: Breaker, now: datetime) -> Breaker:
    """Return the state after a failed attempt for which the endpoint is not at fault. It neither counts nor resets.

    A probe that ends like this shows nothing about the endpoint, so the next probe may follow at once.
    """
    return replace(breaker, state="open", rests_until=now) if breaker.state == "half_open" else breaker


def rest_asked(breaker: Breaker, now: datetime, seconds: float) -> Breaker:
    """Return the state with a rest that the client requested by ``Retry-After``. A longer current rest stays.

    Call it after the function for the result of the attempt.
    """
    return _resting(breaker, now + timedelta(seconds=seconds))


def _resting(breaker: Breaker, until: datetime | None) -> Breaker:
    if until is None or (breaker.rests_until is not None and until <= breaker.rests_until):
        return breaker
    return replace(breaker, rests_until=until)
