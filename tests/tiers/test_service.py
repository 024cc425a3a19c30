"""One member at a time: what the service writes, refuses and announces."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.db import transaction

from live_push.exceptions import TierError
from live_push.models import Push, Tier, TierEvent, TierMembership, UserProfile
from live_push.tiers import service
from tests.tiers.builders import utc
from tests.tiers.conftest import ROLLING

pytestmark = pytest.mark.django_db

STORED = [
    "tier__title",
    "tier_score",
    "timeframe_score",
    "date_reached",
    "date_assigned",
    "expiration_date",
    "reset_date",
    "assigned_by_event",
    "in_maintenance",
    "last_event_at",
]


def standing(profile: UserProfile) -> dict:
    return TierMembership.objects.values(*STORED).get(profile=profile)


def everything() -> list:
    return [list(model.objects.order_by("pk").values()) for model in (UserProfile, TierMembership, TierEvent, Push)]


def history(profile: UserProfile) -> list:
    return list(
        TierEvent.objects.filter(profile=profile).values_list("event", "cause", "from_title", "to_title", "due_at")
    )


def test_a_new_profile_starts_in_the_default_program(make_program, at):
    make_program(name="Other", is_default=False)
    make_program()
    with at(2026, 1, 10):
        profile = UserProfile.objects.create()
    begin, new_year = utc(2026, 1, 10), utc(2027, 1, 1)
    assert standing(profile) == {
        "tier__title": "Tier 1",
        "tier_score": 0,
        "timeframe_score": 0,
        "date_reached": begin,
        "date_assigned": begin,
        "expiration_date": new_year,
        "reset_date": new_year,
        "assigned_by_event": "start",
        "in_maintenance": False,
        "last_event_at": begin,
    }
    assert profile.tier_membership.tier.program.name == "Club"
    assert history(profile) == [("start", "enrolment", None, "Tier 1", begin)]


def test_without_a_default_program_nobody_starts(make_program):
    make_program(is_default=False)
    assert not TierMembership.objects.filter(profile=UserProfile.objects.create()).exists()


@pytest.mark.parametrize(
    "tiers",
    [pytest.param([], id="no tiers yet"), pytest.param([("Tier 1", None, 999)], id="no top yet")],
)
def test_half_a_ladder_keeps_nobody_from_signing_up(make_program, caplog, tiers):
    make_program(tiers=tiers)
    profile = UserProfile.objects.create()
    assert not TierMembership.objects.filter(profile=profile).exists()
    assert ["Club" in message for message in caplog.messages] == [True] * len(tiers)


def test_profiles_created_in_bulk_start_together(make_program, django_assert_max_num_queries):
    make_program()
    profiles = [UserProfile.objects.create() for _ in range(3)]
    TierMembership.objects.all().delete()
    with django_assert_max_num_queries(7):
        started = service.start_members([profile.pk for profile in profiles], "default")
    assert started == [profile.pk for profile in profiles]
    assert TierMembership.objects.filter(assigned_by_event="start").count() == 3


def test_who_has_a_membership_keeps_it(member, at):
    service.award_points(member, 1200, at=utc(2026, 5, 5))
    before = standing(member)
    assert service.start_members([member.pk], "default") == []
    assert standing(member) == before


@pytest.mark.parametrize("given_moments", [True, False], ids=["moments given", "moments of the clock"])
def test_the_worked_example_happens_in_the_database(member, at, given_moments):
    told = []
    for when, points in [((2026, 3, 2), 700), ((2026, 5, 5), 500), ((2027, 1, 1), 0), ((2028, 1, 1), 0)]:
        with at(*when if not given_moments else (2030, 1, 1)):
            service.award_points(member, points, at=utc(*when) if given_moments else None)
        row = standing(member)
        told.append((row["tier__title"], row["timeframe_score"], row["tier_score"], row["assigned_by_event"]))
    assert told == [
        ("Tier 1", 700, 700, "update"),
        ("Tier 2", 1200, 200, "jump"),
        ("Tier 2", 0, 0, "maintain"),
        ("Tier 1", 0, 0, "drop"),
    ]
    assert history(member) == [
        ("start", "enrolment", None, "Tier 1", utc(2026, 1, 10)),
        ("update", "points", "Tier 1", "Tier 1", utc(2026, 3, 2)),
        ("jump", "points", "Tier 1", "Tier 2", utc(2026, 5, 5)),
        ("maintain", "clock", "Tier 2", "Tier 2", utc(2027, 1, 1)),
        ("drop", "clock", "Tier 2", "Tier 1", utc(2028, 1, 1)),
    ]


def test_an_award_after_missed_instants_applies_them_first(member, at):
    service.award_points(member, 1200, at=utc(2026, 5, 5))
    with at(2028, 6, 1):
        events = service.award_points(member, 10)
    assert [(event.event, event.due_at, event.applied_at) for event in events] == [
        ("maintain", utc(2027, 1, 1), utc(2028, 6, 1)),
        ("drop", utc(2028, 1, 1), utc(2028, 6, 1)),
        ("update", utc(2028, 6, 1), utc(2028, 6, 1)),
    ]
    row = standing(member)
    assert (row["date_assigned"], row["timeframe_score"]) == (utc(2028, 1, 1), 10)
    # An update in the same commit does not hide the drop.
    assert row["assigned_by_event"] == "drop"


def test_the_scores_before_and_after_are_in_the_history(member):
    service.award_points(member, 1200, at=utc(2026, 5, 5))
    (update,) = service.award_points(member, -300, at=utc(2026, 5, 6))
    assert (update.timeframe_score_before, update.timeframe_score_after) == (1200, 900)
    assert (update.tier_score_before, update.tier_score_after) == (200, 0)


def test_an_award_moves_the_counters_of_the_profile(member):
    service.award_points(member, 700, at=utc(2026, 3, 2))
    service.award_points(member, 500, at=utc(2026, 3, 9))
    stored = UserProfile.objects.get(pk=member.pk)
    assert (stored.total_points, stored.redeemable_points) == (1200, 1200)
    assert (stored.monthly_points, stored.monthly_points_period) == (1200, date(2026, 3, 1))
    assert (stored.weekly_points, stored.weekly_points_period) == (500, date(2026, 3, 9))


def test_months_and_weeks_begin_where_the_program_lives(make_program, at):
    make_program(time_zone="America/New_York")
    with at(2026, 1, 10):
        profile = UserProfile.objects.create()
    service.award_points(profile, 5, at=utc(2026, 3, 1, 4, 59))
    assert profile.monthly_points_period == date(2026, 2, 1)


def test_a_profile_without_a_membership_moves_its_counters_only(db, announcements):
    profile = UserProfile.objects.create()
    with announcements() as heard:
        assert service.award_points(profile, 40, at=utc(2026, 3, 2)) == []
    assert UserProfile.objects.get(pk=profile.pk).total_points == 40
    assert heard == [([profile.pk], "updated")]


def test_spending_lowers_redeemable_points_only(member, announcements):
    service.award_points(member, 1200, at=utc(2026, 5, 5))
    before = standing(member)
    with announcements() as heard:
        service.spend_points(member, 1000)
    stored = UserProfile.objects.get(pk=member.pk)
    assert (stored.redeemable_points, stored.total_points, stored.monthly_points) == (200, 1200, 1200)
    assert standing(member) == before
    assert heard == [([member.pk], "updated")]


def test_what_the_caller_holds_is_brought_up_to_date(member):
    stale = UserProfile.objects.get(pk=member.pk)
    held = stale.tier_membership
    service.award_points(member, 1000, at=utc(2026, 3, 2))
    service.award_points(stale, 200, at=utc(2026, 5, 5))
    assert (stale.total_points, held.timeframe_score, held.tier.title) == (1200, 1200, "Tier 2")
    stale.first_name = "Grace"
    stale.save()
    assert UserProfile.objects.get(pk=member.pk).total_points == 1200


def test_spending_brings_the_instance_up_to_date_too(member):
    stale = UserProfile.objects.get(pk=member.pk)
    service.award_points(member, 1000, at=utc(2026, 3, 2))
    service.spend_points(stale, 400)
    assert (stale.redeemable_points, stale.total_points) == (600, 1000)


def test_a_membership_known_to_be_missing_is_looked_up_again(make_program, db):
    profile = UserProfile.objects.create()
    with pytest.raises(TierMembership.DoesNotExist):
        _ = profile.tier_membership
    program = make_program()
    service.override_tier(profile, program.tiers.get(title="Tier 2"))
    assert profile.tier_membership.tier.title == "Tier 2"


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        pytest.param(lambda profile: service.award_points(profile, 1.5), "whole number", id="a float"),
        pytest.param(lambda profile: service.award_points(profile, True), "whole number", id="a flag"),
        pytest.param(lambda profile: service.award_points(profile, "5"), "whole number", id="a text"),
        pytest.param(lambda profile: service.award_points(profile, 2**53), "whole number", id="more than JSON holds"),
        pytest.param(
            lambda profile: service.award_points(profile, 5, at=utc(2026, 5, 4)),
            "last event was at 2026-05-05.* 2026-05-04",
            id="before the last event",
        ),
        pytest.param(
            lambda profile: service.award_points(profile, 5, at=utc(2026, 1, 9)),
            "last event was at 2026-05-05.* 2026-01-09",
            id="before the membership began",
        ),
        pytest.param(lambda profile: service.award_points(profile, Decimal(5)), "whole number", id="a decimal"),
        pytest.param(
            lambda profile: service.award_points(profile, 5, at=utc(2026, 5, 6).replace(tzinfo=None)),
            "time zone",
            id="a naive moment",
        ),
        pytest.param(
            lambda profile: service.award_points(profile, 2**53 - 1, at=utc(2026, 6, 1)), "beyond", id="too many points"
        ),
        pytest.param(lambda profile: service.spend_points(profile, 1201), "1200 are redeemable", id="spends too much"),
        pytest.param(lambda profile: service.spend_points(profile, -1), "from 0", id="spends less than nothing"),
        pytest.param(
            lambda profile: service.override_tier(profile, profile.tier_membership.tier),
            "in 'Tier 2' already",
            id="an override to where it is",
        ),
        pytest.param(
            lambda profile: service.override_tier(profile, Tier(pk=0, title="Ghost")),
            "no longer exists",
            id="a tier that is gone",
        ),
    ],
)
def test_what_is_refused_changes_nothing(member, at, announcements, act, sentence):
    service.award_points(member, 1200, at=utc(2026, 5, 5))
    before = everything()
    with at(2026, 6, 1), announcements() as heard, transaction.atomic(), pytest.raises(TierError, match=sentence):
        act(member)
    # The caller's own transaction goes on.
    assert everything() == before
    assert heard == []


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param({"max_value": 500}, id="a gap between the tiers"),
        pytest.param({"max_value": None}, id="an open tier in the middle"),
    ],
)
def test_a_program_that_is_no_ladder_refuses_points_and_names_the_tiers(member, break_it):
    Tier.objects.filter(title="Tier 1").update(**break_it)
    before = everything()
    with pytest.raises(TierError, match=r"Club.*Tier 1.*Tier 2"):
        service.award_points(member, 10)
    assert everything() == before


@pytest.mark.parametrize("act", [lambda p: service.award_points(p, 5), lambda p: service.spend_points(p, 0)])
def test_points_belong_to_a_saved_profile(db, act):
    with pytest.raises(TierError, match="saved profile"):
        act(UserProfile())


def test_points_of_a_deleted_profile_are_refused(member):
    gone = UserProfile.objects.get(pk=member.pk)
    member.delete()
    with pytest.raises(TierError, match="no longer exists"):
        service.award_points(gone, 5)


def test_a_clock_that_was_set_back_loses_no_points(member, at):
    service.award_points(member, 5, at=utc(2026, 6, 1))
    with at(2026, 5, 31):
        (update,) = service.award_points(member, 5)
    assert update.due_at == utc(2026, 6, 1)
    assert standing(member)["timeframe_score"] == 10


def test_no_points_with_nothing_due_change_and_announce_nothing(member, announcements):
    before = everything()
    with announcements() as heard:
        assert service.award_points(member, 0, at=utc(2026, 3, 2)) == []
        service.spend_points(member, 0)
    assert heard == []
    assert everything() == before


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda p: service.award_points(p, 5, at=utc(2026, 3, 2)), id="an update"),
        pytest.param(lambda p: service.award_points(p, 1200, at=utc(2026, 3, 2)), id="a jump"),
        pytest.param(lambda p: service.award_points(p, 5, at=utc(2030, 3, 2)), id="several instants at once"),
        pytest.param(
            lambda p: service.override_tier(p, Tier.objects.get(title="Tier 3"), utc(2026, 3, 2)), id="by hand"
        ),
    ],
)
def test_one_operation_is_announced_once(member, announcements, act):
    with announcements() as heard:
        act(member)
    assert heard == [([member.pk], "tier")]


def test_an_award_costs_few_statements(member, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr("live_push.signals.profiles_changed.receivers", [])
    monkeypatch.setattr("live_push.signals.profiles_changed.sender_receivers_cache", {}, raising=False)
    with django_assert_max_num_queries(9):
        service.award_points(member, 1200, at=utc(2026, 3, 2))


def test_an_override_moves_up_and_down_by_hand(member):
    (up,) = service.override_tier(member, Tier.objects.get(title="Tier 3"), utc(2026, 5, 5))
    (down,) = service.override_tier(member, Tier.objects.get(title="Tier 2"), utc(2026, 6, 5))
    assert [(event.event, event.cause) for event in (up, down)] == [("jump", "override"), ("drop", "override")]
    row = standing(member)
    assert (row["tier__title"], row["date_reached"], row["assigned_by_event"]) == ("Tier 2", utc(2026, 6, 5), "drop")


def test_an_override_into_another_program_starts_there(member, make_program):
    other = make_program(name="Elite", is_default=False, tiers=[("Silver", None, 9), ("Gold", 10, None)], **ROLLING)
    events = service.override_tier(member, other.tiers.get(title="Gold"), utc(2026, 5, 5))
    assert [(event.event, event.to_title) for event in events] == [("start", "Silver"), ("jump", "Gold")]
    row = standing(member)
    assert (row["expiration_date"], row["reset_date"]) == (utc(2027, 5, 5), None)


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        pytest.param({}, ("drop", "Tier 1", utc(2028, 1, 1)), id="as it comes"),
        pytest.param({"drop_policy": "one_down"}, ("drop", "Tier 2", utc(2028, 1, 1)), id="one down"),
        pytest.param({"expires_after_resets": 2}, ("reset", "Tier 3", utc(2028, 1, 1)), id="kept for two resets"),
        pytest.param({"base_expires": False}, ("drop", "Tier 1", None), id="a base without an expiry"),
        pytest.param(
            {"time_zone": "America/New_York"}, ("drop", "Tier 1", utc(2028, 1, 1, 5)), id="the new year of New York"
        ),
        pytest.param(ROLLING, ("drop", "Tier 1", utc(2028, 1, 10)), id="rolling months"),
        pytest.param(
            {"timeframe": "rolling", "length": 300, "length_unit": "days"},
            ("drop", "Tier 1", utc(2027, 9, 2)),
            id="rolling days",
        ),
        pytest.param({"timeframe": "none"}, ("jump", "Tier 3", None), id="nothing expires"),
    ],
)
def test_every_setting_of_a_program_reaches_the_rules(make_program, at, columns, seen):
    program = make_program(**columns)
    with at(2026, 1, 10):
        profile = UserProfile.objects.create()
        service.override_tier(profile, program.tiers.get(title="Tier 3"))
        # Scores that qualify for nothing.
        service.award_points(profile, 0)
    with at(2027, 1, 11):
        service.award_points(profile, 0)
    row = standing(profile)
    assert (row["assigned_by_event"], row["tier__title"], row["expiration_date"]) == seen


@pytest.mark.parametrize(("update_assigns", "event"), [(True, "update"), (False, "start")])
def test_whether_an_update_assigns_is_a_setting(make_program, at, update_assigns, event):
    make_program(update_assigns=update_assigns)
    with at(2026, 1, 10):
        profile = UserProfile.objects.create()
    service.award_points(profile, 5, at=utc(2026, 3, 2))
    assert standing(profile)["assigned_by_event"] == event


def test_a_maintain_score_of_its_own_decides(member):
    Tier.objects.filter(title="Tier 2").update(maintain_score=1500)
    service.award_points(member, 1400, at=utc(2026, 5, 5))
    (drop,) = service.award_points(member, 0, at=utc(2027, 1, 1))
    assert (drop.event, drop.to_title) == ("drop", "Tier 1")
