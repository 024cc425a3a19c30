"""The program's worked examples, row by row, down to the derived members of the body."""

from __future__ import annotations

from itertools import pairwise

import pytest

from live_push.contract.tier_info import tier_info
from live_push.rules.tiers import lifecycle
from tests.tiers.builders import THREE_TIERS, enrolled, months, new_year, program, utc

START, FIRST, SECOND = utc(2026, 1, 10), utc(2026, 3, 2), utc(2026, 5, 5)
JAN_27, JAN_28, JAN_29 = (utc(year, 1, 1) for year in (2027, 2028, 2029))

# now, points, level, timeframe, tier, event, to reach, to maintain, reached, assigned
ENROLS = (START, None, 1, 0, 0, "start", 1000, None, START, START)
EARNS_700 = (FIRST, 700, 1, 700, 700, "update", 300, None, START, START)
EARNS_500 = (SECOND, 500, 2, 1200, 200, "jump", 1300, 0, SECOND, SECOND)

YEARLY = [
    pytest.param([ENROLS], id="10 Jan 2026 enrols"),
    pytest.param([ENROLS, EARNS_700], id="2 Mar 2026 earns 700"),
    pytest.param([ENROLS, EARNS_700, EARNS_500], id="5 May 2026 earns 500"),
    pytest.param(
        [ENROLS, EARNS_700, EARNS_500, (JAN_27, 0, 2, 0, 0, "maintain", 2500, 1000, SECOND, JAN_27)],
        id="1 Jan 2027 expires with 1200 of 1000",
    ),
    pytest.param(
        [
            ENROLS,
            EARNS_700,
            EARNS_500,
            (JAN_27, 0, 2, 0, 0, "maintain", 2500, 1000, SECOND, JAN_27),
            (JAN_28, 0, 1, 0, 0, "drop", 1000, None, JAN_28, JAN_28),
        ],
        id="1 Jan 2028 expires with 0 of 1000",
    ),
    pytest.param(
        [ENROLS, EARNS_700, EARNS_500, (JAN_28, 0, 1, 0, 0, "drop", 1000, None, JAN_28, JAN_28)],
        id="both expiries found in 2028 only",
    ),
]


def body_of(member: lifecycle.Membership, timeframe: str, now):
    level = THREE_TIERS[member.level]
    above = THREE_TIERS[member.level + 1] if member.level + 1 < len(THREE_TIERS) else None
    return tier_info(
        {
            "now": now,
            "tier_title": level.title,
            "tier_min_value": level.min_value,
            "tier_max_value": level.max_value,
            "tier_maintain_score": level.maintain_score,
            "tier_timeframe": timeframe,
            "tier_time_zone": "UTC",
            "tier_next_title": above and above.title,
            "tier_next_min_value": above and above.min_value,
            "tier_next_max_value": above and above.max_value,
            "tier_score": member.tier_score,
            "tier_timeframe_score": member.timeframe_score,
            "tier_date_reached": member.date_reached,
            "tier_date_assigned": member.date_assigned,
            "tier_expiration_date": member.expiration_date,
            "tier_reset_date": member.reset_date,
            "tier_assigned_by_event": member.assigned_by_event.value,
        }
    )


def iso(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("rows", YEARLY)
def test_a_year_from_january_to_january(rows):
    in_program = program(timeframe=new_year())
    member = None
    for now, points, level, timeframe, tier, event, to_reach, to_maintain, reached, assigned in rows:
        if member is None:
            member = lifecycle.start_membership(in_program, now).after
        elif changes := lifecycle.award(in_program, member, points, now):
            member = changes[-1].after
        body = body_of(member, "fixed", now)
        assert body["currentLevel"]["title"] == f"Tier {level}"
        assert (body["timeframeScore"], body["tierScore"], body["score"]) == (timeframe, tier, tier)
        assert body["assignedByEvent"] == event
        assert (body["scoreNeededToReach"], body["scoreNeededToMaintain"]) == (to_reach, to_maintain)
        assert (body["dateReached"], body["dateAssigned"]) == (iso(reached), iso(assigned))


@pytest.mark.parametrize(
    ("earned_in_2027", "event", "level"),
    [
        pytest.param(1000, "maintain", 1, id="earned again"),
        pytest.param(999, "drop", 0, id="not earned again"),
    ],
)
def test_a_tier_kept_a_year_beyond_the_reset(earned_in_2027, event, level):
    in_program = program(timeframe=new_year(resets=2))
    (jump,) = lifecycle.award(in_program, enrolled(in_program, START), 1200, SECOND)
    (reset,) = lifecycle.due(in_program, jump.after, JAN_27)
    body = body_of(reset.after, "fixed", JAN_27)
    assert (body["assignedByEvent"], body["currentLevel"]["title"]) == ("reset", "Tier 2")
    assert (body["timeframeScore"], body["tierScore"]) == (0, 0)
    assert (body["expirationDate"], body["resetDate"]) == (iso(JAN_28), iso(JAN_28))
    assert (body["daysUntilExpirationDate"], body["scoreNeededToMaintain"]) == (365, 1000)
    assert reset.after.in_maintenance

    (update,) = lifecycle.award(in_program, reset.after, earned_in_2027, utc(2027, 6, 1))
    (decided,) = lifecycle.due(in_program, update.after, JAN_28)
    assert (decided.event.value, decided.after.level, decided.after.reset_date) == (event, level, JAN_29)


def test_rolling_every_jump_maintain_and_drop_starts_new_twelve_months():
    in_program = program(timeframe=months(12))
    (jump,) = lifecycle.award(in_program, enrolled(in_program, START), 1200, SECOND)
    body = body_of(jump.after, "rolling", SECOND)
    assert (body["expirationDate"], body["resetDate"], body["daysUntilResetDate"]) == (
        "2027-05-05T00:00:00Z",
        None,
        None,
    )
    assert body["daysUntilExpirationDate"] == 365

    changes = list(lifecycle.due(in_program, jump.after, utc(2029, 5, 5)))
    assert [change.event.value for change in changes] == ["maintain", "drop", "maintain"]
    for one, following in pairwise(changes):
        assert one.after.expiration_date == following.at
    assert changes[-1].after.expiration_date == utc(2030, 5, 5)


def test_the_recorded_top_member_has_the_surplus_over_the_threshold_as_tier_score():
    member = enrolled(program(), START, timeframe_score=0)
    (jump,) = lifecycle.award(program(), member, 222_624, SECOND)
    body = body_of(jump.after, "none", utc(2026, 10, 5))
    assert (body["timeframeScore"], body["tierScore"]) == (222_624, 222_624 - 2500)
    nulls = ("nextLevel", "scoreNeededToReach", "scoreNeededToMaintain", "expirationDate", "daysUntilExpirationDate")
    assert [body[key] for key in nulls] == [None] * len(nulls)


@pytest.mark.parametrize(
    ("now", "days"),
    [
        pytest.param(utc(2026, 12, 31), 1, id="a day before"),
        pytest.param(utc(2026, 12, 31, 0, 0, 1), 0, id="a second less than a day"),
        pytest.param(utc(2027, 1, 1), 0, id="on the instant"),
        pytest.param(utc(2027, 3, 1), 0, id="late, and not yet applied"),
    ],
)
def test_days_are_counted_down_to_zero_and_stop_there(now, days):
    body = body_of(enrolled(program(timeframe=new_year()), START), "fixed", now)
    assert (body["daysUntilExpirationDate"], body["daysUntilResetDate"]) == (days, days)
