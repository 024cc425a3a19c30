from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from live_push.exceptions import TierError
from live_push.rules.tiers.timeframes import (
    Dates,
    FixedTimeframe,
    LengthUnit,
    NoTimeframe,
    RollingTimeframe,
    zone_named,
)
from tests.tiers.builders import days, months, new_year, utc


def local(zone: str, *when: int) -> datetime:
    return datetime(*when, tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("timeframe", "at", "reset", "expiration"),
    [
        pytest.param(new_year(), utc(2026, 1, 10), utc(2027, 1, 1), utc(2027, 1, 1), id="the next first of January"),
        pytest.param(new_year(2), utc(2026, 1, 10), utc(2027, 1, 1), utc(2028, 1, 1), id="kept for a second year"),
        pytest.param(new_year(), utc(2027, 1, 1), utc(2028, 1, 1), utc(2028, 1, 1), id="never the very same instant"),
        pytest.param(
            new_year(), utc(2026, 12, 31, 23, 59, 59), utc(2027, 1, 1), utc(2027, 1, 1), id="a second before the reset"
        ),
        pytest.param(
            FixedTimeframe(2, 29, 1, ZoneInfo("UTC")),
            utc(2026, 3, 1),
            utc(2027, 2, 28),
            utc(2027, 2, 28),
            id="a leap day in a common year is the 28th",
        ),
        pytest.param(
            FixedTimeframe(2, 29, 2, ZoneInfo("UTC")),
            utc(2026, 3, 1),
            utc(2027, 2, 28),
            utc(2028, 2, 29),
            id="a leap day in a leap year is itself",
        ),
        pytest.param(
            new_year(zone="America/New_York"),
            utc(2027, 1, 1),
            utc(2027, 1, 1, 5),
            utc(2027, 1, 1, 5),
            id="New York's year begins five hours later",
        ),
        pytest.param(
            new_year(zone="Pacific/Kiritimati"),
            utc(2026, 12, 31, 11),
            utc(2027, 12, 31, 10),
            utc(2027, 12, 31, 10),
            id="the new year has begun there although not in UTC",
        ),
        pytest.param(
            FixedTimeframe(7, 1, 1, ZoneInfo("Europe/Vienna")),
            utc(2026, 1, 10),
            utc(2026, 6, 30, 22),
            utc(2026, 6, 30, 22),
            id="summer time is in force at the reset, not at the start",
        ),
        pytest.param(
            FixedTimeframe(10, 15, 1, ZoneInfo("America/Sao_Paulo")),
            utc(2017, 1, 1),
            utc(2017, 10, 15, 3),
            utc(2017, 10, 15, 3),
            id="the clocks skip midnight: the day begins where they jump",
        ),
        pytest.param(
            FixedTimeframe(11, 1, 1, ZoneInfo("America/Havana")),
            utc(2026, 1, 1),
            utc(2026, 11, 1, 4),
            utc(2026, 11, 1, 4),
            id="midnight comes twice: the day begins with the first",
        ),
    ],
)
def test_a_fixed_timeframe_resets_at_the_start_of_its_day_and_expires_at_the_nth_reset(
    timeframe, at, reset, expiration
):
    assert timeframe.dates(at) == Dates(expiration, reset)


@pytest.mark.parametrize(
    ("timeframe", "at", "expiration"),
    [
        pytest.param(months(12), utc(2026, 5, 5), utc(2027, 5, 5), id="a year"),
        pytest.param(months(1), utc(2026, 1, 31, 8), utc(2026, 2, 28, 8), id="February has no 31st"),
        pytest.param(months(1), utc(2028, 1, 31), utc(2028, 2, 29), id="nor in a leap year, which has a 29th"),
        pytest.param(months(12), utc(2028, 2, 29), utc(2029, 2, 28), id="a year after a leap day"),
        pytest.param(months(48), utc(2028, 2, 29), utc(2032, 2, 29), id="four years after a leap day"),
        pytest.param(months(1), utc(2026, 12, 31), utc(2027, 1, 31), id="over the turn of the year"),
        pytest.param(months(11), utc(2026, 1, 15), utc(2026, 12, 15), id="up to December of the same year"),
        pytest.param(days(30), utc(2026, 2, 1), utc(2026, 3, 3), id="thirty days"),
        pytest.param(
            days(1, "Europe/Vienna"),
            local("Europe/Vienna", 2026, 3, 28, 12),
            utc(2026, 3, 29, 10),
            id="a day of 23 hours ends at the same time on the clock",
        ),
        pytest.param(
            days(1, "Europe/Vienna"),
            local("Europe/Vienna", 2026, 10, 24, 12),
            utc(2026, 10, 25, 11),
            id="a day of 25 hours ends at the same time on the clock",
        ),
        pytest.param(
            days(1, "Europe/Vienna"),
            local("Europe/Vienna", 2026, 3, 28, 2, 30),
            utc(2026, 3, 29, 1, 30),
            id="a time that the clocks skip",
        ),
        pytest.param(
            days(1, "Europe/Vienna"),
            utc(2026, 10, 25, 1, 30),
            utc(2026, 10, 26, 1, 30),
            id="from the second of two equal times",
        ),
        pytest.param(
            months(72, "Europe/Vienna"),
            utc(2020, 10, 25, 1, 30),
            utc(2026, 10, 25, 0, 30),
            id="from the second of two equal times to the first of two",
        ),
        pytest.param(
            months(1, "Asia/Tokyo"),
            utc(2026, 1, 30, 16),
            utc(2026, 2, 27, 16),
            id="it is the 31st already where the program lives",
        ),
        pytest.param(
            days(1, "Pacific/Apia"),
            local("Pacific/Apia", 2011, 12, 29, 10),
            utc(2011, 12, 30, 20),
            id="a day that an island skipped",
        ),
    ],
)
def test_a_rolling_timeframe_counts_from_the_assignment_and_never_resets(timeframe, at, expiration):
    # In UTC, as the database gives it: the calendar must come from the program's zone, not from the moment's.
    assert timeframe.dates(at.astimezone(UTC)) == Dates(expiration, None)


def test_without_a_timeframe_there_are_no_dates():
    assert NoTimeframe().dates(utc(2026, 1, 1)) == Dates(None, None)


@pytest.mark.parametrize(
    ("timeframe", "sentence"),
    [
        pytest.param(lambda zone: FixedTimeframe(2, 30, 1, zone), "Day 30 of month 2 does not exist", id="30 February"),
        pytest.param(lambda zone: FixedTimeframe(4, 31, 1, zone), "Day 31 of month 4 does not exist", id="31 April"),
        pytest.param(lambda zone: FixedTimeframe(13, 1, 1, zone), "month 13 does not exist", id="a thirteenth month"),
        pytest.param(lambda zone: FixedTimeframe(1, 0, 1, zone), "Day 0 of month 1 does not exist", id="day zero"),
        pytest.param(
            lambda zone: FixedTimeframe(1, 1, 0, zone), "1 reset or more; found 0", id="expiry before any reset"
        ),
        pytest.param(
            lambda zone: RollingTimeframe(0, LengthUnit.MONTHS, zone), "must be 1 or more; found 0", id="no length"
        ),
        pytest.param(
            lambda zone: RollingTimeframe(-1, LengthUnit.DAYS, zone), "must be 1 or more", id="a length backwards"
        ),
    ],
)
def test_a_timeframe_whose_dates_never_come_is_refused(timeframe, sentence):
    with pytest.raises(TierError, match=sentence):
        timeframe(ZoneInfo("UTC"))


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../../etc/passwd", "/etc/localtime", "UTC\0"])
def test_an_unknown_time_zone_is_refused_with_its_name(name):
    with pytest.raises(TierError, match="There is no time zone"):
        zone_named(name)
