"""What awards and spendings do to the profile's own counters."""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from live_push.exceptions import TierError
from live_push.rules.tiers.lifecycle import MAX_POINTS
from live_push.rules.tiers.points import Counters, to_utc, whole_points
from tests.tiers.builders import utc

JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)
MONDAY, NEXT_MONDAY = date(2026, 6, 29), date(2026, 7, 6)
NEW_YORK = ZoneInfo("America/New_York")


def counters(total=0, redeemable=0, monthly=0, month=None, weekly=0, week=None):
    return Counters(
        total_points=total,
        redeemable_points=redeemable,
        monthly_points=monthly,
        monthly_points_period=month,
        weekly_points=weekly,
        weekly_points_period=week,
    )


@pytest.mark.parametrize(
    ("before", "points", "at", "zone", "after"),
    [
        pytest.param(
            counters(), 10, utc(2026, 7, 1), UTC, counters(10, 10, 10, JULY, 10, MONDAY), id="the first points of all"
        ),
        pytest.param(
            counters(50, 20, 30, JUNE, 5, MONDAY),
            10,
            utc(2026, 6, 30),
            UTC,
            counters(60, 30, 40, JUNE, 15, MONDAY),
            id="in the same month and week",
        ),
        pytest.param(
            counters(50, 20, 30, JUNE, 5, MONDAY),
            10,
            utc(2026, 7, 1),
            UTC,
            counters(60, 30, 10, JULY, 15, MONDAY),
            id="a new month within the week",
        ),
        pytest.param(
            counters(50, 20, 30, JULY, 5, MONDAY),
            10,
            utc(2026, 7, 6),
            UTC,
            counters(60, 30, 40, JULY, 10, NEXT_MONDAY),
            id="a new week within the month",
        ),
        pytest.param(
            counters(50, 20, 30, JUNE, 5, MONDAY),
            10,
            utc(2026, 7, 1, 3, 59),
            NEW_YORK,
            counters(60, 30, 40, JUNE, 15, MONDAY),
            id="still June in New York",
        ),
        pytest.param(
            counters(50, 20, 30, JULY, 5, NEXT_MONDAY),
            10,
            utc(2026, 6, 30),
            UTC,
            counters(60, 30, 30, JULY, 5, NEXT_MONDAY),
            id="late, for a month and a week that are over",
        ),
        pytest.param(
            counters(50, 20, 30, None, 5, None),
            10,
            utc(2026, 7, 1),
            UTC,
            counters(60, 30, 40, JULY, 15, MONDAY),
            id="counters that the host wrote belong to the present",
        ),
        pytest.param(
            counters(50, 20, 30, JULY, 5, MONDAY),
            -10,
            utc(2026, 7, 1),
            UTC,
            counters(40, 10, 20, JULY, 0, MONDAY),
            id="a correction stops at 0, counter by counter",
        ),
        pytest.param(
            counters(50, 0, 30, JUNE, 5, MONDAY),
            -10,
            utc(2026, 7, 8),
            UTC,
            counters(40, 0, 0, JULY, 0, NEXT_MONDAY),
            id="a correction of points spent and of a month long over",
        ),
        pytest.param(
            counters(-5, -5),
            -10,
            utc(2026, 7, 1),
            UTC,
            counters(-5, -5, 0, JULY, 0, MONDAY),
            id="a debt stays as it is",
        ),
        pytest.param(
            counters(-5, -5), 10, utc(2026, 7, 1), UTC, counters(5, 5, 10, JULY, 10, MONDAY), id="a debt is paid first"
        ),
    ],
)
def test_an_award_moves_all_counters_each_within_its_period(before, points, at, zone, after):
    assert before.after_award(points, at, zone) == after


def test_spending_lowers_what_can_be_redeemed_and_nothing_else():
    assert counters(50, 20, 30, JULY, 5, MONDAY).after_spending(20) == counters(50, 0, 30, JULY, 5, MONDAY)


def test_nobody_spends_more_than_there_is():
    with pytest.raises(TierError, match=r"21 points can't be spent: 20 are redeemable"):
        counters(50, 20).after_spending(21)


def test_a_counter_that_json_readers_would_round_is_refused():
    with pytest.raises(TierError, match="beyond"):
        counters(total=MAX_POINTS).after_award(1, utc(2026, 7, 1), UTC)


@pytest.mark.parametrize(
    "points",
    [True, False, 1.0, 1.5, "10", None, Decimal(10), b"1", float("nan"), 2**53, -(2**53)],
    ids=repr,
)
def test_points_that_are_no_whole_number_are_refused_with_what_was_found(points):
    with pytest.raises(TierError, match="whole number") as refusal:
        whole_points(points)
    assert repr(points) in str(refusal.value)


def test_points_to_spend_are_not_negative():
    with pytest.raises(TierError, match="from 0 to"):
        whole_points(-1, least=0)


@pytest.mark.parametrize("at", [utc(2026, 1, 1).replace(tzinfo=None), date(2026, 1, 1), "2026-01-01", 0], ids=repr)
def test_a_moment_without_a_time_zone_is_refused(at):
    with pytest.raises(TierError, match="datetime with a time zone"):
        to_utc(at)


def test_a_moment_is_kept_in_utc():
    assert to_utc(utc(2026, 7, 1, 4).astimezone(NEW_YORK)).isoformat() == "2026-07-01T04:00:00+00:00"
