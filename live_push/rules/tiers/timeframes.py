"""The timeframes of a tier program: when a tier expires and when its scores are reset.

Dates are calculated in the program's time zone and returned in UTC. A local time that does not exist, because the
clocks are put forward, is read with the offset before the change. So the start of a day is always its first instant.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import ClassVar, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from live_push.exceptions import TierError
from live_push.rules.messages import Message

LEAP_YEAR = 2024
"""Any leap year: the reset day of a fixed timeframe may be 29 February."""


class LengthUnit(StrEnum):
    """The unit of a rolling timeframe's length."""

    DAYS = "days"
    MONTHS = "months"


class Dates(NamedTuple):
    """When a tier expires and when its scores are reset to 0, as datetimes in UTC; ``None`` for never."""

    expiration: datetime | None
    reset: datetime | None


class Timeframe(Protocol):
    """How a program calculates the dates of a tier from the time at which the tier was assigned."""

    expires: ClassVar[bool]
    """Whether tiers expire."""
    resets: ClassVar[bool]
    """Whether scores are reset."""

    def dates(self, at: datetime) -> Dates:
        """Return the dates of a tier assigned at ``at``; both are later than ``at``."""


@dataclass(frozen=True, slots=True)
class NoTimeframe:
    """A timeframe in which nothing expires."""

    expires: ClassVar[bool] = False
    resets: ClassVar[bool] = False

    def dates(self, at: datetime) -> Dates:
        """Return no dates."""
        return Dates(None, None)


@dataclass(frozen=True, slots=True)
class FixedTimeframe:
    """A timeframe by the calendar: scores are reset every year at the start of one day.

    A tier expires at a reset: at the first one after it was assigned if ``expires_after_resets`` is 1, at the second
    one if it is 2. Example: with resets on 1 January and ``expires_after_resets=1``, a tier assigned on 5 May 2026
    expires on 1 January 2027. In a year without 29 February, that day means 28 February.

    Raises :class:`~live_push.exceptions.TierError` for a day that does not exist.
    """

    expires: ClassVar[bool] = True
    resets: ClassVar[bool] = True

    month: int
    day: int
    expires_after_resets: int
    zone: tzinfo

    def __post_init__(self) -> None:
        if not 1 <= self.month <= 12 or not 1 <= self.day <= calendar.monthrange(LEAP_YEAR, self.month)[1]:
            raise TierError(Message("reset_day", day=self.day, month=self.month))
        if self.expires_after_resets < 1:
            raise TierError(Message("reset_count", count=self.expires_after_resets))

    def dates(self, at: datetime) -> Dates:
        """Return the expiry and the next reset of a tier assigned at ``at``."""
        year = at.astimezone(self.zone).year
        if self._reset_in(year) <= at:
            year += 1
        return Dates(self._reset_in(year + self.expires_after_resets - 1), self._reset_in(year))

    def _reset_in(self, year: int) -> datetime:
        return _in_utc(datetime(year, self.month, _day_within(year, self.month, self.day), tzinfo=self.zone))


@dataclass(frozen=True, slots=True)
class RollingTimeframe:
    """A timeframe in which a tier expires a number of days or months after it was assigned, at the same local time.

    Scores have no reset date; they are reset at expiry. If the target month is too short, the tier expires on its last
    day: one month after 31 January is 28 February.

    Raises :class:`~live_push.exceptions.TierError` for a length below 1.
    """

    expires: ClassVar[bool] = True
    resets: ClassVar[bool] = False

    length: int
    unit: LengthUnit
    zone: tzinfo

    def __post_init__(self) -> None:
        if self.length < 1:
            raise TierError(Message("timeframe_length", count=self.length))

    def dates(self, at: datetime) -> Dates:
        """Return the expiry of a tier assigned at ``at``."""
        local = at.astimezone(self.zone).replace(fold=0)
        if self.unit is LengthUnit.DAYS:
            return Dates(_in_utc(local + timedelta(days=self.length)), None)
        years, month = divmod(local.month - 1 + self.length, 12)
        year, month = local.year + years, month + 1
        return Dates(_in_utc(local.replace(year=year, month=month, day=_day_within(year, month, local.day))), None)


def zone_named(name: str) -> ZoneInfo:
    """Return the IANA time zone with this name, such as ``Europe/Vienna``. Raises ``TierError`` for an unknown name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TierError(Message("time_zone_unknown", name=repr(name))) from None


def _day_within(year: int, month: int, day: int) -> int:
    return min(day, calendar.monthrange(year, month)[1])


def _in_utc(local: datetime) -> datetime:
    return local.astimezone(UTC)
