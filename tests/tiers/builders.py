"""The programs and memberships that the tier tests talk about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.ladder import Ladder, Level
from live_push.rules.tiers.timeframes import FixedTimeframe, LengthUnit, NoTimeframe, RollingTimeframe

THREE_TIERS = Ladder(
    (
        Level(title="Tier 1", min_value=None, max_value=999),
        Level(title="Tier 2", min_value=1000, max_value=2499),
        Level(title="Tier 3", min_value=2500, max_value=None),
    )
)
ONE_TIER = Ladder((Level(title="Member", min_value=None, max_value=None),))


def utc(year: int, month: int, day: int, *clock: int) -> datetime:
    return datetime(year, month, day, *clock, tzinfo=UTC)


def new_year(resets: int = 1, zone: str = "UTC") -> FixedTimeframe:
    return FixedTimeframe(1, 1, resets, ZoneInfo(zone))


def months(length: int, zone: str = "UTC") -> RollingTimeframe:
    return RollingTimeframe(length, LengthUnit.MONTHS, ZoneInfo(zone))


def days(length: int, zone: str = "UTC") -> RollingTimeframe:
    return RollingTimeframe(length, LengthUnit.DAYS, ZoneInfo(zone))


def program(**changes: Any) -> lifecycle.Program:
    """Three tiers in which nothing expires, unless told otherwise."""
    return lifecycle.Program(**{"ladder": THREE_TIERS, "timeframe": NoTimeframe(), **changes})


def enrolled(in_program: lifecycle.Program, at: datetime, **changes: Any) -> lifecycle.Membership:
    """A membership that started ``at``, then altered by hand."""
    return replace(lifecycle.start_membership(in_program, at).after, **changes)
