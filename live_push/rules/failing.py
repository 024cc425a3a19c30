"""Decide when to warn about a failing endpoint, and when to disable it.

An endpoint fails from its first failed attempt after a success. After a pause that is longer than a day plus the
longest wait of the retry policy, the next failure counts as the first, because the state during the pause is not known.
After six hours a warning is sent. After five days, with failures on at least three different days and at least a day
after the warning, the endpoint is disabled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

WARN_AFTER: Final = timedelta(hours=6)
DISABLE_AFTER: Final = timedelta(days=5)
DISABLE_AFTER_WARNING: Final = timedelta(hours=24)
DAYS_WITH_FAILURES: Final = 3
PAUSE: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Failing:
    """The failures of an endpoint. They are stored with the endpoint.

    ``since``
        The first failure that counts; ``None`` if the last attempt succeeded.
    ``last_at``
        The last failure, also after a success.
    ``days``
        The UTC days of the last five on which attempts have failed since then, oldest first.
    ``warned_at``
        When the last warning was sent; ``None`` once the recovery was announced.
    """

    since: datetime | None = None
    last_at: datetime | None = None
    days: tuple[date, ...] = ()
    warned_at: datetime | None = None


def after_success(failing: Failing) -> Failing:
    """Return the state after an attempt that succeeded."""
    return replace(failing, since=None, days=())


def after_failure(failing: Failing, now: datetime, longest_wait_seconds: float) -> Failing:
    """Return the state after an attempt that failed. The longest wait is the one of the endpoint's retry policy."""
    pause = PAUSE + timedelta(seconds=longest_wait_seconds)
    goes_on = failing.since is not None and failing.last_at is not None and now - failing.last_at <= pause
    before = failing.days if goes_on else ()
    oldest = _day(now - DISABLE_AFTER)
    days = sorted({*(day for day in before if day >= oldest), _day(now)})
    return replace(failing, since=failing.since if goes_on else now, last_at=now, days=tuple(days))


def next_step(failing: Failing, now: datetime) -> Literal["nothing", "warn", "disable", "announce_recovery"]:
    """Return what to do about an endpoint after an attempt."""
    if failing.since is None:
        return "nothing" if failing.warned_at is None else "announce_recovery"
    if now - failing.since < WARN_AFTER:
        return "nothing"
    # The last warning may be about an earlier failure, whose end was not noticed. This one needs its own.
    if failing.warned_at is None or failing.warned_at < failing.since:
        return "warn"
    is_long = now - failing.since >= DISABLE_AFTER and now - failing.warned_at >= DISABLE_AFTER_WARNING
    return "disable" if is_long and len(failing.days) >= DAYS_WITH_FAILURES else "nothing"


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
