"""What a member's tier looks like in the body that is pushed, from row to wire, on whatever database this is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from live_push.contract.schema import body_schema
from live_push.models import ClientEndpoint, Tier, TierEvent, TierProgram, UserProfile, clock
from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.timeframes import FixedTimeframe, NoTimeframe
from live_push.testing import captured_pushes
from live_push.tiers import clock as batches
from live_push.tiers import service
from tests.rules.tiers.test_lifecycle_properties import programs
from tests.tiers.builders import utc
from tests.tiers.conftest import ROLLING

pytestmark = pytest.mark.django_db

SCHEMA = Draft202012Validator(body_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)

# day; points, None to enrol, "clock" for the command; then level, timeframe, tier, event, to reach, to maintain,
# reached, assigned, expires, resets
FIXED = [
    ("2026-01-10", None, 1, 0, 0, "start", 1000, None, "2026-01-10", "2026-01-10", "2027-01-01", "2027-01-01"),
    ("2026-03-02", 700, 1, 700, 700, "update", 300, None, "2026-01-10", "2026-01-10", "2027-01-01", "2027-01-01"),
    ("2026-05-05", 500, 2, 1200, 200, "jump", 1300, 0, "2026-05-05", "2026-05-05", "2027-01-01", "2027-01-01"),
    ("2027-01-01", "clock", 2, 0, 0, "maintain", 2500, 1000, "2026-05-05", "2027-01-01", "2028-01-01", "2028-01-01"),
    ("2028-01-01", "clock", 1, 0, 0, "drop", 1000, None, "2028-01-01", "2028-01-01", "2029-01-01", "2029-01-01"),
]
KEPT_A_YEAR_LONGER = [
    ("2026-01-10", None, 1, 0, 0, "start", 1000, None, "2026-01-10", "2026-01-10", "2028-01-01", "2027-01-01"),
    ("2026-05-05", 1200, 2, 1200, 200, "jump", 1300, 0, "2026-05-05", "2026-05-05", "2028-01-01", "2027-01-01"),
    ("2027-01-01", "clock", 2, 0, 0, "reset", 2500, 1000, "2026-05-05", "2027-01-01", "2028-01-01", "2028-01-01"),
]
EARNED_AGAIN = [
    ("2027-06-01", 1000, 2, 1000, 1000, "update", 1500, 0, "2026-05-05", "2027-01-01", "2028-01-01", "2028-01-01"),
    ("2028-01-01", "clock", 2, 0, 0, "maintain", 2500, 1000, "2026-05-05", "2028-01-01", "2030-01-01", "2029-01-01"),
]
NOT_EARNED_AGAIN = [
    ("2027-06-01", 999, 2, 999, 999, "update", 1501, 1, "2026-05-05", "2027-01-01", "2028-01-01", "2028-01-01"),
    ("2028-01-01", "clock", 1, 0, 0, "drop", 1000, None, "2028-01-01", "2028-01-01", "2030-01-01", "2029-01-01"),
]
TWELVE_MONTHS = [
    ("2026-01-10", None, 1, 0, 0, "start", 1000, None, "2026-01-10", "2026-01-10", "2027-01-10", None),
    ("2026-05-05", 1200, 2, 1200, 200, "jump", 1300, 0, "2026-05-05", "2026-05-05", "2027-05-05", None),
    ("2027-05-05", "clock", 2, 0, 0, "maintain", 2500, 1000, "2026-05-05", "2027-05-05", "2028-05-05", None),
    ("2028-05-05", "clock", 1, 0, 0, "drop", 1000, None, "2028-05-05", "2028-05-05", "2029-05-05", None),
]


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        pytest.param({}, FIXED, id="fixed, reset and expiry both on 1 January"),
        pytest.param({"expires_after_resets": 2}, [*KEPT_A_YEAR_LONGER, *EARNED_AGAIN], id="kept to 2028, maintained"),
        pytest.param({"expires_after_resets": 2}, [*KEPT_A_YEAR_LONGER, *NOT_EARNED_AGAIN], id="kept to 2028, dropped"),
        pytest.param(ROLLING, TWELVE_MONTHS, id="rolling, twelve months"),
    ],
)
def test_the_worked_examples_are_pushed_row_by_row(make_program, endpoint, at, columns, rows):
    make_program(**columns)
    profile = UserProfile()
    for day, happens, *expected in rows:
        now = datetime.fromisoformat(f"{day}T00:00:00Z")
        with clock.stopped(now), captured_pushes() as pushes:
            if happens is None:
                profile.save()
            elif happens == "clock":
                call_command("live_push_tiers", verbosity=0)
            else:
                service.award_points(profile, happens)
        (push,) = pushes
        level, timeframe, tier, event, to_reach, to_maintain, *dates = expected
        reached, assigned, expires, resets = (each and f"{each}T00:00:00Z" for each in dates)
        assert (push.trigger, push.payload["fanLevelName"]) == (
            "created" if happens is None else "tier",
            f"Tier {level}",
        )
        assert push.payload["tierInfo"] == {
            "resetDate": resets,
            "dateReached": reached,
            "scoreNeededToReach": to_reach,
            "nextLevel": {
                1: {"minValue": 1000, "maxValue": 2499, "title": "Tier 2"},
                2: {"minValue": 2500, "maxValue": None, "title": "Tier 3"},
            }[level],
            "tierScore": tier,
            "timeframeScore": timeframe,
            "assignedByEvent": event,
            "currentLevel": {
                1: {"minValue": None, "maxValue": 999, "title": "Tier 1"},
                2: {"minValue": 1000, "maxValue": 2499, "title": "Tier 2"},
            }[level],
            "daysUntilResetDate": resets and (datetime.fromisoformat(resets) - now).days,
            "score": tier,
            "daysUntilExpirationDate": (datetime.fromisoformat(expires) - now).days,
            "dateAssigned": assigned,
            "expirationDate": expires,
            "scoreNeededToMaintain": to_maintain,
        }


def stored(program: lifecycle.Program) -> TierProgram:
    """The program as rows."""
    columns: dict[str, Any] = {"timeframe": "none"}
    frame = program.timeframe
    if isinstance(frame, FixedTimeframe):
        columns = {"timeframe": "fixed", "reset_month": frame.month, "reset_day": frame.day}
        columns["expires_after_resets"] = frame.expires_after_resets
    elif not isinstance(frame, NoTimeframe):
        columns = {"timeframe": "rolling", "length": frame.length, "length_unit": frame.unit.value}
    row = TierProgram.objects.create(
        name="Club",
        is_default=True,
        drop_policy=program.drop_policy.value,
        base_expires=program.base_expires,
        update_assigns=program.update_assigns,
        **columns,
    )
    for level in program.ladder.levels:
        Tier.objects.create(
            program=row,
            title=level.title,
            min_value=level.min_value,
            max_value=level.max_value,
            maintain_score=level.maintain_score,
        )
    return row


BEGIN = utc(2027, 12, 20)
HOURS = st.integers(0, 400) | st.integers(8000, 9000)
STEPS = st.lists(
    st.tuples(HOURS, st.sampled_from(["award", "clock", "spend", "save", "override"]), st.integers(-40, 60)),
    min_size=1,
    max_size=6,
)


def do(act: str, number: int, profile: UserProfile) -> None:
    if act == "award":
        service.award_points(profile, number)
    elif act == "clock":
        batches.apply_due()
    elif act == "spend":
        service.spend_points(profile, min(abs(number), max(profile.redeemable_points, 0)))
    elif act == "save":
        profile.save()
    else:
        others = Tier.objects.exclude(memberships__profile=profile).order_by("pk")
        if others:
            service.override_tier(profile, others[number % len(others)])


def keeps_the_contract(body: dict[str, Any], program: lifecycle.Program) -> None:
    SCHEMA.validate(body)
    tier = body["tierInfo"]
    current, following = tier["currentLevel"], tier["nextLevel"]
    titles = [level.title for level in program.ladder.levels]
    place = titles.index(current["title"])
    assert body["fanLevelName"] == current["title"]
    assert tier["score"] == tier["tierScore"] <= tier["timeframeScore"]
    assert following is None if place == len(titles) - 1 else following["title"] == titles[place + 1]
    assert following is None or following["minValue"] == current["maxValue"] + 1

    fixed, nothing = (isinstance(program.timeframe, kind) for kind in (FixedTimeframe, NoTimeframe))
    expires = not nothing and (place > 0 or program.base_expires)
    may_be_null = {
        "resetDate": not fixed,
        "daysUntilResetDate": not fixed,
        "expirationDate": not expires,
        "daysUntilExpirationDate": not expires,
        "scoreNeededToMaintain": not expires or place == 0,
        "nextLevel": following is None,
        "scoreNeededToReach": following is None,
    }
    assert {key: value is None for key, value in tier.items()} == {key: may_be_null.get(key, False) for key in tier}
    numbers = [value for key, value in tier.items() if key.startswith(("days", "score")) and value is not None]
    assert min(numbers) >= 0


@settings(max_examples=40)
@given(programs, STEPS)
def test_whatever_happens_to_a_member_the_body_keeps_the_contract(program, steps):
    with transaction.atomic():
        stored(program)
        ClientEndpoint.objects.create(name="Client", url="https://client.example.com/push")
        now, profile = BEGIN, UserProfile()
        for hours, act, number in [(0, "save", 0), *steps]:
            now += timedelta(hours=hours)
            with clock.stopped(now), captured_pushes() as pushes:
                do(act, number, profile)
            assert len(pushes) <= 1
            for push in pushes:
                keeps_the_contract(push.payload, program)
        transaction.set_rollback(True)


@settings(max_examples=40)
@given(programs, st.lists(st.tuples(HOURS, st.integers(-40, 60)), min_size=1, max_size=6))
def test_the_database_tells_the_story_that_the_rules_tell(program, waits_and_points):
    titles = [level.title for level in program.ladder.levels]
    with transaction.atomic():
        stored(program)
        with clock.stopped(BEGIN):
            profile = UserProfile.objects.create()
        change, now = lifecycle.start_membership(program, BEGIN), BEGIN
        expected = [change]
        for hours, points in waits_and_points:
            now += timedelta(hours=hours)
            with clock.stopped(now):
                batches.apply_due()
                service.award_points(profile, points)
            expected += lifecycle.award(program, expected[-1].after, points, now)
        assert list(
            TierEvent.objects.filter(profile=profile)
            .order_by("pk")
            .values_list("event", "due_at", "to_title", "timeframe_score_after", "tier_score_after")
        ) == [
            (
                change.event.value,
                change.at,
                titles[change.after.level],
                change.after.timeframe_score,
                change.after.tier_score,
            )
            for change in expected
        ]
        last, row = expected[-1].after, profile.tier_membership
        row.refresh_from_db()
        assert (row.date_reached, row.date_assigned, row.expiration_date, row.reset_date, row.in_maintenance) == (
            last.date_reached,
            last.date_assigned,
            last.expiration_date,
            last.reset_date,
            last.in_maintenance,
        )
        transaction.set_rollback(True)
