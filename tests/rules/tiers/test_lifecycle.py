"""Every rule of the lifecycle, one table each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from live_push.exceptions import TierError
from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.ladder import Ladder, Level
from live_push.rules.tiers.lifecycle import Cause, DropPolicy, Event
from live_push.rules.tiers.timeframes import FixedTimeframe, NoTimeframe
from tests.tiers.builders import ONE_TIER, days, enrolled, months, new_year, program, utc

JANUARY, MARCH, MAY = utc(2026, 1, 10), utc(2026, 3, 2), utc(2026, 5, 5)
HARD_TO_KEEP = Ladder(
    (
        Level(title="Tier 1", min_value=None, max_value=999),
        Level(title="Tier 2", min_value=1000, max_value=2499, maintain_score=1500),
        Level(title="Tier 3", min_value=2500, max_value=None, maintain_score=4000),
    )
)


@pytest.mark.parametrize(
    ("timeframe", "expiration", "reset"),
    [
        pytest.param(new_year(), utc(2027, 1, 1), utc(2027, 1, 1), id="fixed"),
        pytest.param(months(12), utc(2027, 1, 10), None, id="rolling"),
        pytest.param(program().timeframe, None, None, id="none"),
    ],
)
def test_a_member_starts_at_the_base_with_nothing_and_the_dates_of_the_timeframe(timeframe, expiration, reset):
    assert lifecycle.start_membership(program(timeframe=timeframe), JANUARY) == lifecycle.Change(
        event=Event.START,
        cause=Cause.ENROLMENT,
        at=JANUARY,
        before=None,
        after=lifecycle.Membership(
            level=0,
            tier_score=0,
            timeframe_score=0,
            date_reached=JANUARY,
            date_assigned=JANUARY,
            expiration_date=expiration,
            reset_date=reset,
            assigned_by_event=Event.START,
            in_maintenance=False,
        ),
    )


@pytest.mark.parametrize(
    ("level", "timeframe_score", "points", "event", "to_level", "scores"),
    [
        pytest.param(0, 0, 700, Event.UPDATE, 0, (700, 700), id="still short of the next tier"),
        pytest.param(0, 0, 999, Event.UPDATE, 0, (999, 999), id="one short of the boundary"),
        pytest.param(0, 0, 1000, Event.JUMP, 1, (1000, 0), id="exactly the boundary"),
        pytest.param(0, 700, 500, Event.JUMP, 1, (1200, 200), id="the surplus counts for the new tier"),
        pytest.param(0, 0, 2499, Event.JUMP, 1, (2499, 1499), id="the last score of the next tier"),
        pytest.param(0, 0, 2500, Event.JUMP, 2, (2500, 0), id="a level is skipped"),
        pytest.param(0, 0, 222_624, Event.JUMP, 2, (222_624, 220_124), id="far into the top"),
        pytest.param(1, 1000, 1499, Event.UPDATE, 1, (2499, 1499), id="within the second tier"),
        pytest.param(2, 2500, 10**9, Event.UPDATE, 2, (10**9 + 2500, 10**9), id="nothing is above the top"),
        pytest.param(2, 0, 1200, Event.UPDATE, 2, (1200, 1200), id="a kept tier is not left for a lower one"),
        pytest.param(1, 0, 2500, Event.JUMP, 2, (2500, 0), id="up from a kept tier"),
    ],
)
def test_points_raise_the_scores_and_jump_to_the_highest_level_reached(
    level, timeframe_score, points, event, to_level, scores
):
    threshold = (0, 1000, 2500)[level]
    before = enrolled(
        program(),
        JANUARY,
        level=level,
        timeframe_score=timeframe_score,
        tier_score=max(0, timeframe_score - threshold),
    )
    (change,) = lifecycle.award(program(), before, points, MARCH)
    assert (change.event, change.at, change.after.level) == (event, MARCH, to_level)
    assert (change.after.timeframe_score, change.after.tier_score) == scores
    assert change.before == before


@pytest.mark.parametrize(
    ("timeframe", "expiration", "reset"),
    [
        pytest.param(new_year(2), utc(2028, 1, 1), utc(2027, 1, 1), id="fixed"),
        pytest.param(months(12), utc(2027, 5, 5), None, id="rolling"),
        pytest.param(program().timeframe, None, None, id="none"),
    ],
)
def test_a_jump_moves_both_dates_takes_a_new_expiry_and_leaves_maintenance(timeframe, expiration, reset):
    in_program = program(timeframe=timeframe)
    (change,) = lifecycle.award(in_program, enrolled(in_program, JANUARY, in_maintenance=True), 1200, MAY)
    after = change.after
    assert (after.date_reached, after.date_assigned) == (MAY, MAY)
    assert (after.expiration_date, after.reset_date) == (expiration, reset)
    assert (after.in_maintenance, after.assigned_by_event) == (False, Event.JUMP)


@pytest.mark.parametrize("points", [pytest.param(5, id="earned"), pytest.param(-5, id="corrected")])
@pytest.mark.parametrize(
    ("update_assigns", "assigned_by"),
    [
        pytest.param(True, Event.UPDATE, id="and assigns"),
        pytest.param(False, Event.START, id="and the assigning event stays"),
    ],
)
def test_an_update_moves_no_date(points, update_assigns, assigned_by):
    in_program = program(timeframe=new_year(), update_assigns=update_assigns)
    before = enrolled(in_program, JANUARY, in_maintenance=True, timeframe_score=10, tier_score=10)
    (change,) = lifecycle.award(in_program, before, points, MARCH)
    after = change.after
    assert change.event is Event.UPDATE
    assert after.assigned_by_event is assigned_by
    assert (after.date_reached, after.date_assigned) == (JANUARY, JANUARY)
    assert (after.expiration_date, after.reset_date) == (before.expiration_date, before.reset_date)
    assert after.in_maintenance


@pytest.mark.parametrize(
    ("level", "scores", "points", "left"),
    [
        pytest.param(1, (1200, 200), -50, (1150, 150), id="both scores fall"),
        pytest.param(1, (1200, 200), -300, (900, 0), id="below the tier's minimum, which it keeps"),
        pytest.param(1, (1200, 200), -5000, (0, 0), id="never below nothing"),
        pytest.param(0, (0, 0), -1, (0, 0), id="from nothing"),
        pytest.param(0, (3000, 3000), -1, (2999, 2999), id="a correction never jumps, whatever the ladder became"),
    ],
)
def test_a_correction_lowers_the_scores_and_never_drops_before_the_expiry(level, scores, points, left):
    before = enrolled(program(), JANUARY, level=level, timeframe_score=scores[0], tier_score=scores[1])
    (change,) = lifecycle.award(program(), before, points, MARCH)
    assert (change.event, change.after.level) == (Event.UPDATE, level)
    assert (change.after.timeframe_score, change.after.tier_score) == left


def test_no_points_are_no_event():
    assert lifecycle.award(program(), enrolled(program(), JANUARY), 0, MARCH) == []


def test_a_reset_empties_the_counters_and_begins_maintenance():
    in_program = program(timeframe=new_year(2))
    before = enrolled(in_program, JANUARY, level=1, timeframe_score=1200, tier_score=200)
    (change,) = lifecycle.due(in_program, before, utc(2027, 1, 1))
    after = change.after
    assert (change.event, change.at, after.assigned_by_event) == (Event.RESET, utc(2027, 1, 1), Event.RESET)
    assert (after.level, after.timeframe_score, after.tier_score) == (1, 0, 0)
    assert (after.date_reached, after.date_assigned) == (JANUARY, utc(2027, 1, 1))
    assert (after.reset_date, after.expiration_date) == (utc(2028, 1, 1), utc(2028, 1, 1))
    assert after.in_maintenance


@pytest.mark.parametrize(
    ("ladder", "level", "timeframe_score", "policy", "event", "to_level"),
    [
        pytest.param(None, 1, 1000, "balance_based", Event.MAINTAIN, 1, id="exactly the minimum keeps the tier"),
        pytest.param(None, 1, 999, "balance_based", Event.DROP, 0, id="one short drops"),
        pytest.param(None, 2, 2499, "balance_based", Event.DROP, 1, id="to the tier that the score qualifies for"),
        pytest.param(None, 2, 999, "balance_based", Event.DROP, 0, id="two down where the score says so"),
        pytest.param(None, 2, 999, "one_down", Event.DROP, 1, id="one down whatever the score says"),
        pytest.param(None, 1, 0, "one_down", Event.DROP, 0, id="one down to the base"),
        pytest.param(None, 0, 0, "balance_based", Event.MAINTAIN, 0, id="the base never drops"),
        pytest.param(None, 0, 0, "one_down", Event.MAINTAIN, 0, id="the base never drops, one down or not"),
        pytest.param(HARD_TO_KEEP, 1, 1500, "balance_based", Event.MAINTAIN, 1, id="its own maintain score met"),
        pytest.param(
            HARD_TO_KEEP, 1, 1499, "balance_based", Event.DROP, 0, id="a drop leads down, not to where one is"
        ),
        pytest.param(HARD_TO_KEEP, 2, 3999, "balance_based", Event.DROP, 1, id="enough to reach, too little to keep"),
        pytest.param(ONE_TIER, 0, 0, "balance_based", Event.MAINTAIN, 0, id="a ladder of one tier"),
    ],
)
@pytest.mark.parametrize("timeframe", [new_year(), months(12)], ids=["fixed", "rolling"])
def test_an_expiry_maintains_who_has_done_enough_and_drops_the_others(
    timeframe, ladder, level, timeframe_score, policy, event, to_level
):
    in_program = program(timeframe=timeframe, drop_policy=DropPolicy(policy), **({"ladder": ladder} if ladder else {}))
    before = enrolled(
        in_program, JANUARY, level=level, timeframe_score=timeframe_score, tier_score=7, in_maintenance=True
    )
    at = before.expiration_date
    (change,) = lifecycle.due(in_program, before, at)
    after = change.after
    assert (change.event, change.at, after.assigned_by_event) == (event, at, event)
    assert (after.level, after.timeframe_score, after.tier_score) == (to_level, 0, 0)
    assert (after.date_reached, after.date_assigned) == (at if event is Event.DROP else JANUARY, at)
    assert (after.expiration_date, after.reset_date) == in_program.timeframe.dates(at)
    assert not after.in_maintenance


@pytest.mark.parametrize(
    ("timeframe", "event"),
    [
        pytest.param(new_year(), Event.RESET, id="fixed: the counters still reset"),
        pytest.param(months(12), None, id="rolling: nothing ever happens"),
    ],
)
def test_a_base_without_an_expiry_is_a_setting(timeframe, event):
    in_program = program(timeframe=timeframe, base_expires=False)
    start = enrolled(in_program, JANUARY)
    assert start.expiration_date is None
    assert [change.event for change in lifecycle.due(in_program, start, utc(2027, 6, 1))] == ([event] if event else [])


def test_whoever_drops_to_a_base_without_an_expiry_has_none():
    in_program = program(timeframe=months(12), base_expires=False)
    (change,) = lifecycle.due(in_program, enrolled(in_program, JANUARY, level=1, expiration_date=MAY), MAY)
    assert (change.event, change.after.expiration_date) == (Event.DROP, None)


@pytest.mark.parametrize(
    ("timeframe_score", "event"),
    [pytest.param(1000, Event.MAINTAIN, id="maintain"), pytest.param(999, Event.DROP, id="drop")],
)
def test_reset_and_expiry_at_one_instant_are_one_expiry_with_the_scores_before_the_reset(timeframe_score, event):
    in_program = program(timeframe=new_year())
    before = enrolled(in_program, JANUARY, level=1, timeframe_score=timeframe_score)
    assert before.reset_date == before.expiration_date
    assert [change.event for change in lifecycle.due(in_program, before, utc(2027, 6, 1))] == [event]


@pytest.mark.parametrize(
    ("now", "count"),
    [
        pytest.param(utc(2026, 12, 31, 23, 59, 59, 999_999), 0, id="a microsecond early"),
        pytest.param(utc(2027, 1, 1), 1, id="on the instant"),
        pytest.param(utc(2027, 12, 31), 1, id="late by most of a year"),
        pytest.param(utc(2030, 1, 1), 4, id="four instants missed"),
    ],
)
def test_every_missed_instant_is_applied_with_its_own_date(now, count):
    in_program = program(timeframe=new_year())
    changes = list(lifecycle.due(in_program, enrolled(in_program, JANUARY), now))
    assert [change.at for change in changes] == [utc(2027 + year, 1, 1) for year in range(count)]
    assert [change.after.date_assigned for change in changes] == [change.at for change in changes]


def test_missed_instants_of_a_rolling_timeframe_chain_from_one_to_the_next():
    in_program = program(timeframe=months(1))
    member = enrolled(in_program, utc(2026, 1, 31), level=2)
    assert [(change.event, change.at) for change in lifecycle.due(in_program, member, utc(2026, 4, 28))] == [
        (Event.DROP, utc(2026, 2, 28)),
        (Event.MAINTAIN, utc(2026, 3, 28)),
        (Event.MAINTAIN, utc(2026, 4, 28)),
    ]


@pytest.mark.parametrize(
    ("timeframe", "left_over", "events"),
    [
        pytest.param(NoTimeframe(), {"expiration_date": MARCH, "reset_date": MARCH}, [], id="nothing expires any more"),
        pytest.param(months(12), {"reset_date": MARCH}, [], id="rolling: nothing is reset any more"),
        pytest.param(
            months(12),
            {"expiration_date": MARCH, "reset_date": MARCH},
            [Event.DROP],
            id="rolling: an expiry that is running runs on",
        ),
    ],
)
def test_dates_that_an_edited_timeframe_no_longer_has_do_nothing(timeframe, left_over, events):
    before = enrolled(program(timeframe=new_year()), JANUARY, level=1, timeframe_score=500)
    before = replace(before, **{"expiration_date": None, "reset_date": None, **left_over})
    assert [change.event for change in lifecycle.due(program(timeframe=timeframe), before, MAY)] == events


def test_what_was_applied_is_not_due_again():
    in_program = program(timeframe=days(1))
    *_, last = lifecycle.due(in_program, enrolled(in_program, JANUARY), MARCH)
    assert list(lifecycle.due(in_program, last.after, MARCH)) == []


def test_points_on_the_very_instant_of_an_expiry_count_for_the_new_timeframe():
    in_program = program(timeframe=new_year())
    before = enrolled(in_program, JANUARY, level=1, timeframe_score=400)
    drop, update = lifecycle.award(in_program, before, 700, utc(2027, 1, 1))
    assert (drop.event, update.event) == (Event.DROP, Event.UPDATE)
    assert (update.after.level, update.after.timeframe_score) == (0, 700)


def test_points_after_a_missed_drop_jump_back_from_where_the_drop_led():
    in_program = program(timeframe=new_year())
    before = enrolled(in_program, JANUARY, level=1, timeframe_score=0)
    drop, jump = lifecycle.award(in_program, before, 1100, utc(2027, 2, 1))
    assert (drop.event, drop.after.date_reached) == (Event.DROP, utc(2027, 1, 1))
    assert (jump.event, jump.after.date_reached, jump.after.tier_score) == (Event.JUMP, utc(2027, 2, 1), 100)


@pytest.mark.parametrize(
    ("now", "points", "lasting"),
    [
        pytest.param(MARCH, 10, Event.UPDATE, id="an update alone"),
        pytest.param(utc(2027, 2, 1), 10, Event.DROP, id="an update hides no drop"),
        pytest.param(utc(2028, 2, 1), 10, Event.MAINTAIN, id="the last of several that say something"),
        pytest.param(utc(2027, 2, 1), 1000, Event.JUMP, id="a jump comes after the drop"),
    ],
)
def test_of_what_one_award_did_the_last_event_but_update_lasts(now, points, lasting):
    in_program = program(timeframe=new_year())
    changes = lifecycle.award(in_program, enrolled(in_program, JANUARY, level=1), points, now)
    assert lifecycle.assigning_event(changes) is lasting


def test_an_update_that_does_not_assign_leaves_the_event_before_it():
    in_program = program(update_assigns=False)
    assert (
        lifecycle.assigning_event(lifecycle.award(in_program, enrolled(in_program, JANUARY), 10, MARCH)) is Event.START
    )


@pytest.mark.parametrize(
    ("level", "timeframe_score", "to_level", "event", "scores"),
    [
        pytest.param(0, 200, 2, Event.JUMP, (200, 0), id="up: no surplus over a threshold that was not reached"),
        pytest.param(1, 1200, 2, Event.JUMP, (1200, 0), id="up by one"),
        pytest.param(2, 3000, 1, Event.DROP, (0, 0), id="down: the scores go, or the next point would jump back"),
        pytest.param(2, 3000, 0, Event.DROP, (0, 0), id="down to the base"),
    ],
)
def test_a_manual_override_is_a_jump_or_a_drop_by_its_direction(level, timeframe_score, to_level, event, scores):
    in_program = program(timeframe=months(12))
    before = enrolled(in_program, JANUARY, level=level, timeframe_score=timeframe_score, tier_score=7)
    (change,) = lifecycle.override(in_program, before, to_level, MAY)
    after = change.after
    assert (change.event, after.assigned_by_event, after.level) == (event, event, to_level)
    assert (after.timeframe_score, after.tier_score) == scores
    assert (after.date_reached, after.date_assigned, after.expiration_date) == (MAY, MAY, utc(2027, 5, 5))


def test_an_override_to_where_the_member_is_says_so():
    with pytest.raises(TierError, match="in 'Tier 1' already"):
        lifecycle.override(program(), enrolled(program(), JANUARY), 0, MAY)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        pytest.param(0, [(Event.START, 0)], id="at the base"),
        pytest.param(2, [(Event.START, 0), (Event.JUMP, 2)], id="higher up"),
    ],
)
def test_an_override_of_somebody_without_a_membership_starts_it(level, expected):
    changes = lifecycle.override(program(), None, level, MAY)
    assert [(change.event, change.after.level) for change in changes] == expected
    assert {change.cause for change in changes} == {Cause.OVERRIDE}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        pytest.param(1, [(Event.DROP, Cause.CLOCK)], id="to where the drop led: nothing is left to do"),
        pytest.param(2, [(Event.DROP, Cause.CLOCK), (Event.JUMP, Cause.OVERRIDE)], id="back up"),
        pytest.param(0, [(Event.DROP, Cause.CLOCK), (Event.DROP, Cause.OVERRIDE)], id="further down"),
    ],
)
def test_an_override_comes_after_what_is_due(level, expected):
    in_program = program(timeframe=new_year())
    member = enrolled(in_program, JANUARY, level=2, timeframe_score=1200)
    changes = lifecycle.override(in_program, member, level, utc(2027, 2, 1))
    assert [(change.event, change.cause) for change in changes] == expected


@pytest.mark.parametrize(
    ("changes", "member", "expected"),
    [
        pytest.param({}, {"timeframe_score": 999}, [], id="nothing to change"),
        pytest.param({}, {"timeframe_score": 1000}, [(Event.JUMP, 1)], id="a lowered threshold lifts"),
        pytest.param({}, {"timeframe_score": 3000}, [(Event.JUMP, 2)], id="two levels at once"),
        pytest.param(
            {}, {"level": 2, "timeframe_score": 0}, [], id="a raised threshold drops nobody before the expiry"
        ),
        pytest.param({"timeframe": months(12)}, {}, [(Event.UPDATE, 0)], id="an expiry is new"),
        pytest.param({}, {"expiration_date": utc(2027, 1, 1)}, [(Event.UPDATE, 0)], id="nothing expires any more"),
        pytest.param(
            {"timeframe": months(12)},
            {"expiration_date": utc(2026, 12, 1)},
            [],
            id="an expiry that is running runs on",
        ),
        pytest.param(
            {"timeframe": FixedTimeframe(7, 1, 1, UTC)},
            {"expiration_date": utc(2027, 1, 1), "reset_date": utc(2027, 1, 1)},
            [],
            id="a moved reset day counts from the next reset on",
        ),
        pytest.param(
            {"timeframe": months(12), "base_expires": False},
            {"expiration_date": utc(2026, 12, 1)},
            [(Event.UPDATE, 0)],
            id="the base no longer expires",
        ),
        pytest.param(
            {"timeframe": months(12)},
            {"level": 1, "expiration_date": utc(2026, 2, 1)},
            [(Event.DROP, 0)],
            id="what is due comes first",
        ),
    ],
)
def test_a_reevaluation_lifts_and_gives_dates_but_never_drops(changes, member, expected):
    edited = program(**changes)
    found = lifecycle.reevaluate(edited, enrolled(program(), JANUARY, **member), MAY)
    assert [(change.event, change.after.level) for change in found] == expected
    settled = found[-1].after if found else enrolled(program(), JANUARY, **member)
    assert lifecycle.reevaluate(edited, settled, MAY) == []


def test_a_score_that_json_readers_would_round_is_refused():
    member = enrolled(program(), JANUARY, level=2, timeframe_score=lifecycle.MAX_POINTS)
    with pytest.raises(TierError, match="beyond 9007199254740991"):
        lifecycle.award(program(), member, 1, MARCH)


def test_an_expiry_beyond_the_calendar_is_refused():
    with pytest.raises(TierError, match="after the year 9999"):
        lifecycle.start_membership(program(timeframe=months(12)), utc(9999, 5, 5))
