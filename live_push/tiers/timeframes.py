"""When a tier expires and when its counters reset: the three timeframes of a tier program.

Dates are worked out on the calendar and the clock face of the program's time zone and given back in UTC. A local time
that a change of the clocks skips is read with the offset in force before it, so that "the start of a day" is always the
first instant of that day.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from live_push.exceptions import TierError

A_LEAP_YEAR = 2024


class LengthUnit(StrEnum):
    """What the length of a rolling timeframe counts."""

    DAYS = "days"
    MONTHS = "months"


class Dates(NamedTuple):
    """When a tier expires and when the counters go to 0, aware and in UTC; ``None`` where that never happens."""

    expiration: datetime | None
    reset: datetime | None


class Timeframe(Protocol):
    """How a program derives the dates of a tier from the instant that assigned it."""

    expires: ClassVar[bool]
    resets: ClassVar[bool]

    def dates(self, at: datetime) -> Dates:
        """The dates of a tier assigned ``at``; both strictly later."""


@dataclass(frozen=True, slots=True)
class NoTimeframe:
    """Nothing ever expires."""

    expires: ClassVar[bool] = False
    resets: ClassVar[bool] = False

    def dates(self, at: datetime) -> Dates:
        return Dates(None, None)


@dataclass(frozen=True, slots=True)
class FixedTimeframe:
    """Counters reset every year at the start of one day; a tier expires at the n-th reset after it was assigned.

    29 February is 28 February in a common year. ``expires_after_resets`` is at least 1. Raises
    :class:`~live_push.exceptions.TierError` for a day that never comes.
    """

    expires: ClassVar[bool] = True
    resets: ClassVar[bool] = True

    month: int
    day: int
    expires_after_resets: int
    zone: tzinfo

    def __post_init__(self) -> None:
        if not 1 <= self.month <= 12 or not 1 <= self.day <= calendar.monthrange(A_LEAP_YEAR, self.month)[1]:
            raise TierError(f"Day {self.day} of month {self.month} never comes; name a day that the calendar has.")
        if self.expires_after_resets < 1:
            raise TierError(f"A tier expires after 1 reset or more; found {self.expires_after_resets}.")

    def dates(self, at: datetime) -> Dates:
        year = at.astimezone(self.zone).year
        if self._reset_of(year) <= at:
            year += 1
        return Dates(self._reset_of(year + self.expires_after_resets - 1), self._reset_of(year))

    def _reset_of(self, year: int) -> datetime:
        return _in_utc(datetime(year, self.month, _day_within(year, self.month, self.day), tzinfo=self.zone))


@dataclass(frozen=True, slots=True)
class RollingTimeframe:
    """A tier expires a length of days or months after it was assigned, at the same local time.

    Counters have no reset of their own. A day that the target month lacks becomes its last day: 31 January and one
    month is 28 February. Raises
    :class:`~live_push.exceptions.TierError` for a length below 1.
    """

    expires: ClassVar[bool] = True
    resets: ClassVar[bool] = False

    length: int
    unit: LengthUnit
    zone: tzinfo

    def __post_init__(self) -> None:
        if self.length < 1:
            raise TierError(f"A rolling timeframe lasts 1 {self.unit.value[:-1]} or more; found {self.length}.")

    def dates(self, at: datetime) -> Dates:
        local = at.astimezone(self.zone).replace(fold=0)
        if self.unit is LengthUnit.DAYS:
            return Dates(_in_utc(local + timedelta(days=self.length)), None)
        years, month = divmod(local.month - 1 + self.length, 12)
        year, month = local.year + years, month + 1
        return Dates(_in_utc(local.replace(year=year, month=month, day=_day_within(year, month, local.day))), None)


def zone_named(name: str) -> ZoneInfo:
    """The IANA time zone of that name, such as ``Europe/Vienna``; raises ``TierError`` where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TierError(f"There is no time zone {name!r}; use an IANA name such as Europe/Vienna.") from None


def _day_within(year: int, month: int, day: int) -> int:
    return min(day, calendar.monthrange(year, month)[1])


def _in_utc(local: datetime) -> datetime:
    return local.astimezone(UTC)
