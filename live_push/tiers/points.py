"""What an award and a spending do to the profile's own point counters. Pure.

================== ======================= ========================== ==================
counter            award                   correction (below 0)       spending
================== ======================= ========================== ==================
total_points       rises                   falls, not below 0         stays
redeemable_points  rises                   falls, not below 0         falls, or refused
monthly_points     rises in its month      falls, not below 0         stays
weekly_points      rises in its week       falls, not below 0         stays
================== ======================= ========================== ==================
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta, tzinfo

from live_push.exceptions import TierError

from .rules import MOST_POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The point columns of a profile, by their names.

    A period is the first day of the month or the Monday of the week, in the program's zone, that its counter belongs
    to; ``None`` where the host wrote the counter, which then counts as that of the present period.
    """

    total_points: int
    redeemable_points: int
    monthly_points: int
    monthly_points_period: date | None
    weekly_points: int
    weekly_points_period: date | None

    def awarded(self, points: int, at: datetime, zone: tzinfo) -> Counters:
        """After an award, or a correction, that counts for the month and the week of ``at``."""
        month, week = _periods(at, zone)
        monthly, month = _in_period(self.monthly_points, self.monthly_points_period, points, month)
        weekly, week = _in_period(self.weekly_points, self.weekly_points_period, points, week)
        return Counters(
            total_points=_moved(self.total_points, points),
            redeemable_points=_moved(self.redeemable_points, points),
            monthly_points=monthly,
            monthly_points_period=month,
            weekly_points=weekly,
            weekly_points_period=week,
        )

    def seen(self, now: datetime, zone: tzinfo) -> Counters:
        """As they read now: points of a month or week that has passed are 0."""
        month, week = _periods(now, zone)
        return replace(
            self,
            monthly_points=0 if (self.monthly_points_period or month) < month else self.monthly_points,
            weekly_points=0 if (self.weekly_points_period or week) < week else self.weekly_points,
        )

    def spent(self, points: int) -> Counters:
        """After a spending; raises ``TierError`` where there are not as many redeemable points."""
        if points > self.redeemable_points:
            raise TierError(f"{points} points can't be spent: {self.redeemable_points} are redeemable.")
        return replace(self, redeemable_points=self.redeemable_points - points)


COUNTERS = tuple(field.name for field in fields(Counters))


def whole(points: object, *, least: int = -MOST_POINTS) -> int:
    """The points themselves; raises ``TierError`` unless they are a whole number from ``least`` on."""
    if not isinstance(points, int) or isinstance(points, bool):
        raise TierError(f"Points are a whole number; found {type(points).__name__} {points!r}.")
    if not least <= points <= MOST_POINTS:
        raise TierError(f"Points are a whole number from {least} to {MOST_POINTS}; found {points}.")
    return points


def instant(at: object) -> datetime:
    """The same moment in UTC; raises ``TierError`` unless it is an aware datetime."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise TierError(f"A moment is a datetime with a time zone; found {at!r}.")
    return at.astimezone(UTC)


def _periods(at: datetime, zone: tzinfo) -> tuple[date, date]:
    day = at.astimezone(zone).date()
    return day.replace(day=1), day - timedelta(days=day.weekday())


def _moved(value: int, points: int) -> int:
    if points < 0:
        # Not raised to 0 either, where the host keeps a debt.
        return max(min(value, 0), value + points)
    if value + points > MOST_POINTS:
        raise TierError(f"{points} points would take a counter beyond {MOST_POINTS}.")
    return value + points


def _in_period(value: int, own: date | None, points: int, period: date) -> tuple[int, date]:
    if own is not None and own > period:
        # Awarded late, for a period that is over.
        return value, own
    return _moved(value if own in (None, period) else 0, points), period
