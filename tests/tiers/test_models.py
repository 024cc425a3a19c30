"""What the database itself refuses, and what it derives."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.db.models.signals import post_save

from live_push.exceptions import TierError
from live_push.models import Tier, TierEvent, TierMembership, TierProgram, UserProfile
from live_push.models.tiers import CAUSE_CHOICES, EVENT_CHOICES, MAX_LENGTH, check_ladder
from live_push.rules.tiers import lifecycle
from live_push.tiers import service
from tests.tiers.builders import utc
from tests.tiers.conftest import ROLLING, YEARLY

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        pytest.param({"is_default": True}, "switch the default off", id="a second default"),
        pytest.param({"timeframe": "fixed"}, "a day that this month has", id="fixed without a day"),
        pytest.param({**YEARLY, "reset_month": 2, "reset_day": 30}, "a day that this month has", id="30 February"),
        pytest.param({**YEARLY, "reset_month": 6, "reset_day": 31}, "a day that this month has", id="31 June"),
        pytest.param({**YEARLY, "reset_month": 13}, "a day that this month has", id="a thirteenth month"),
        pytest.param({**YEARLY, "reset_day": 0}, "a day that this month has", id="day zero"),
        pytest.param({**YEARLY, "expires_after_resets": 0}, "after 1 to 100 resets", id="expiry before any reset"),
        pytest.param({"timeframe": "rolling"}, "needs a length", id="rolling without a length"),
        pytest.param({**ROLLING, "length": 0}, "from 1 to", id="a length of nothing"),
    ],
)
def test_a_program_that_makes_no_sense_is_refused_by_form_and_database(make_program, columns, sentence):
    make_program()
    program = TierProgram(name="Elite", **columns)
    with pytest.raises(ValidationError, match=sentence):
        program.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        program.save()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        pytest.param({"timeframe": "fixed"}, "'Club' needs a reset month", id="fixed without a day"),
        pytest.param({"timeframe": "rolling"}, "'Club' needs a length", id="rolling without a length"),
        pytest.param({**YEARLY, "time_zone": "Mars"}, "no time zone 'Mars'", id="an unknown time zone"),
    ],
)
def test_a_program_without_its_dates_gives_the_rules_nothing(columns, sentence):
    with pytest.raises(TierError, match=sentence):
        TierProgram(name="Club", **columns).timeframe_rule()


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({**YEARLY, "reset_month": 2, "reset_day": 29}, id="29 February"),
        pytest.param({**YEARLY, "reset_month": 12, "reset_day": 31}, id="31 December"),
        pytest.param({**ROLLING, "length": 32_000, "length_unit": "days"}, id="most of a century"),
        pytest.param({"timeframe": "none", "reset_month": 2}, id="leftovers of another timeframe"),
        pytest.param({"timeframe": "none", "is_default": False}, id="no default"),
    ],
)
def test_a_program_that_makes_sense_is_taken(db, columns):
    program = TierProgram(name="Club", **columns)
    program.full_clean()
    program.save()
    assert program.timeframe_rule()


def test_there_may_be_many_programs_that_are_not_the_default(db):
    for name in "ABC":
        TierProgram(name=name).save()
    assert TierProgram.objects.filter(is_default=False).count() == 3


def test_an_unknown_time_zone_is_refused_with_its_name(db):
    with pytest.raises(ValidationError, match="Europe/Atlantis"):
        TierProgram(name="Club", time_zone="Europe/Atlantis").full_clean()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        pytest.param({"title": "Tier 1", "min_value": 5}, "a tier with this title", id="a title twice"),
        pytest.param({"min_value": 0}, "begins at 1", id="a minimum of 0 is no minimum"),
        pytest.param({"max_value": -1}, "ends at 0", id="below nothing"),
        pytest.param({"min_value": 10, "max_value": 9}, "must not be below", id="turned around"),
        pytest.param({"maintain_score": -1}, "0 or higher", id="maintained with less than nothing"),
        pytest.param({"min_value": 2**53}, "begins at 1", id="more than JSON readers keep"),
    ],
)
def test_a_tier_that_makes_no_sense_is_refused_by_form_and_database(make_program, columns, sentence):
    tier = Tier(**{"program": make_program(), "title": "New", **columns})
    with pytest.raises(ValidationError, match=sentence):
        tier.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        tier.save()


def test_the_tiers_of_a_ladder_are_right_one_by_one(make_program):
    for tier in make_program().tiers.all():
        tier.full_clean()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        pytest.param(
            {"min_value": 500, "max_value": 1500}, "'Tier 1' up to 999 and 'New' from 500 overlap", id="astride"
        ),
        pytest.param({"min_value": 2000}, "'Tier 2' up to 2499 and 'New' from 2000 overlap", id="inside another"),
        pytest.param({"min_value": 9000}, "'Tier 3' has no maximum although 'New' is above it", id="above the top"),
        pytest.param({"max_value": 5}, "both have no minimum", id="a second base"),
    ],
)
def test_a_tier_that_overlaps_another_is_refused(make_program, columns, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Tier(program=make_program(), title="New", **columns).full_clean()


def test_a_new_tier_must_follow_without_a_gap_and_a_border_can_be_moved_tier_by_tier(make_program):
    program = make_program()
    top = program.tiers.get(title="Tier 3")
    top.max_value = 4999
    top.full_clean()
    top.save()
    with pytest.raises(ValidationError, match="a gap; 'New' must begin at 5000"):
        Tier(program=program, title="New", min_value=6000).full_clean()
    Tier(program=program, title="New", min_value=5000).full_clean()

    top.min_value = 3000
    top.full_clean()
    top.save()
    middle = program.tiers.get(title="Tier 2")
    middle.max_value = 2999
    middle.full_clean()


def test_a_form_can_check_the_ladder_it_holds_before_saving_it(make_program):
    program = make_program()
    tiers = list(program.tiers.all())
    check_ladder(tiers)
    tiers[0].max_value = 1499
    with pytest.raises(ValidationError, match=r"'Tier 1' up to 1499 and 'Tier 2' from 1000 overlap"):
        check_ladder(tiers)


@pytest.mark.parametrize(
    ("expiration", "reset", "due"),
    [
        pytest.param(None, None, None, id="never"),
        pytest.param(utc(2027, 1, 1), None, utc(2027, 1, 1), id="an expiry only"),
        pytest.param(None, utc(2027, 1, 1), utc(2027, 1, 1), id="a reset only"),
        pytest.param(utc(2028, 1, 1), utc(2027, 1, 1), utc(2027, 1, 1), id="the reset first"),
        pytest.param(utc(2027, 1, 1), utc(2028, 1, 1), utc(2027, 1, 1), id="the expiry first"),
    ],
)
def test_the_database_derives_what_is_due_next_however_it_is_written(member, expiration, reset, due):
    TierMembership.objects.filter(pk=member.pk).update(expiration_date=expiration, reset_date=reset)
    assert TierMembership.objects.values_list("next_due_at", flat=True).get() == due


def test_scores_below_nothing_are_refused_by_the_database(member):
    with pytest.raises(IntegrityError), transaction.atomic():
        TierMembership.objects.filter(pk=member.pk).update(tier_score=-1)


def test_a_member_has_one_membership(member):
    with pytest.raises(IntegrityError), transaction.atomic():
        again = TierMembership.objects.get(pk=member.pk)
        again.save(force_insert=True)


def test_a_membership_and_what_hears_of_it_are_saved_in_one_transaction(member):
    heard = []

    def hear(instance, **kwargs):
        heard.append((instance.pk, connection.in_atomic_block))

    membership = TierMembership.objects.get(pk=member.pk)
    post_save.connect(hear, sender=TierMembership)
    try:
        membership.save()
    finally:
        post_save.disconnect(hear, sender=TierMembership)
    assert heard == [(member.pk, True)]


def test_a_tier_that_somebody_is_in_cannot_be_deleted(member):
    with pytest.raises(ProtectedError):
        member.tier_membership.tier.delete()


def test_history_outlives_the_ladder_but_not_the_member(member):
    service.override_tier(member, Tier.objects.get(title="Tier 3"))
    Tier.objects.get(title="Tier 1").delete()
    assert TierEvent.objects.filter(profile=member, to_title="Tier 1").exists()
    UserProfile.objects.get(pk=member.pk).delete()
    assert not TierEvent.objects.exists()


def test_every_event_and_cause_of_the_rules_has_a_label():
    assert [value for value, _ in EVENT_CHOICES] == list(lifecycle.Event)
    assert [value for value, _ in CAUSE_CHOICES] == list(lifecycle.Cause)


def test_rows_say_what_they_are(member):
    membership = TierMembership.objects.get(pk=member.pk)
    assert [str(row) for row in (membership.tier.program, membership.tier, membership, TierEvent.objects.get())] == [
        "Club",
        "Tier 1",
        f"#{member.pk}: Tier 1",
        f"#{member.pk}: start, None → Tier 1",
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "\u202eb"])
def test_names_that_all_see_hold_nothing_that_can_not_be_seen(db, name):
    for nameless in (TierProgram(name=name), Tier(program=TierProgram.objects.create(name="Elite"), title=name)):
        with pytest.raises(ValidationError, match="can't be seen"):
            nameless.full_clean()


def test_the_longest_timeframe_can_be_stored(db):
    program = TierProgram.objects.create(name="Elite", timeframe="rolling", length=MAX_LENGTH, length_unit="days")
    program.full_clean()
    assert TierProgram.objects.get().length == MAX_LENGTH
