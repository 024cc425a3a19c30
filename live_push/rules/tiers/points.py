"""How awards and spendings change the point counters of a profile. Pure.

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
from live_push.rules.messages import Message

from .lifecycle import MAX_POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The point columns of a profile.

    A period is the month or week to which a counter belongs: the first day of the month or the Monday of the week, in
    the time zone of the tier program. It is ``None`` if the host project set the counter itself; the counter then
    belongs to the current period.
    """

    total_points: int
    redeemable_points: int
    monthly_points: int
    monthly_points_period: date | None
    weekly_points: int
    weekly_points_period: date | None

    def after_award(self, points: int, at: datetime, zone: tzinfo) -> Counters:
        """Return the counters after an award or a correction (negative points) at the time ``at``.

        The points count for the month and the week of ``at``. Raises ``TierError`` if a counter would get too large.
        """
        month, week = _periods(at, zone)
        monthly, month = _in_period(self.monthly_points, self.monthly_points_period, points, month)
        weekly, week = _in_period(self.weekly_points, self.weekly_points_period, points, week)
        return Counters(
            total_points=_add(self.total_points, points),
            redeemable_points=_add(self.redeemable_points, points),
            monthly_points=monthly,
            monthly_points_period=month,
            weekly_points=weekly,
            weekly_points_period=week,
        )

    def as_of(self, now: datetime, zone: tzinfo) -> Counters:
        """Return the counters as they read at ``now``: the points of a past month or week are 0."""
        month, week = _periods(now, zone)
        return replace(
            self,
            monthly_points=0 if (self.monthly_points_period or month) < month else self.monthly_points,
            weekly_points=0 if (self.weekly_points_period or week) < week else self.weekly_points,
        )

    def after_spending(self, points: int) -> Counters:
        """Return the counters after a spending. Raises ``TierError`` if there are too few redeemable points."""
        if points > self.redeemable_points:
            raise TierError(Message("points_not_redeemable", points=points, redeemable=self.redeemable_points))
        return replace(self, redeemable_points=self.redeemable_points - points)


COUNTER_COLUMNS = tuple(field.name for field in fields(Counters))
"""The names of the point columns of a profile."""


def whole_points(points: object, *, least: int = -MAX_POINTS) -> int:
    """Return ``points`` unchanged. Raises ``TierError`` unless they are a whole number of at least ``least``."""
    if not isinstance(points, int) or isinstance(points, bool):
        raise TierError(Message("points_type", type=type(points).__name__, value=repr(points)))
    if not least <= points <= MAX_POINTS:
        raise TierError(Message("points_range", least=least, most=MAX_POINTS, points=points))
    return points


def to_utc(at: object) -> datetime:
    """Return the same time in UTC. Raises ``TierError`` unless ``at`` is a datetime with a time zone."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise TierError(Message("moment_type", value=repr(at)))
    return at.astimezone(UTC)


def _periods(at: datetime, zone: tzinfo) -> tuple[date, date]:
    """Return the first day of the month and the Monday of the week in which ``at`` lies."""
    day = at.astimezone(zone).date()
    return day.replace(day=1), day - timedelta(days=day.weekday())


def _add(value: int, points: int) -> int:
    if points < 0:
        # A counter that the host project set below 0 stays there instead of being raised to 0.
        return max(min(value, 0), value + points)
    if value + points > MAX_POINTS:
        raise TierError(Message("counter_limit", points=points, most=MAX_POINTS))
    return value + points


def _in_period(value: int, value_period: date | None, points: int, period: date) -> tuple[int, date]:
    """Add points of one period to a counter; return the counter and its period."""
    if value_period is not None and value_period > period:
        # The award came late: its period is over, and the counter belongs to a later one.
        return value, value_period
    return _add(value if value_period in (None, period) else 0, points), period
