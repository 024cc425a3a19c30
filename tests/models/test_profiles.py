"""What a profile holds, and what the wire makes of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from live_push.contract.encoding import encode, load
from live_push.contract.fields import BODY
from live_push.contract.options import PayloadOptions
from live_push.models import Push, Tier, TierMembership, TierProgram, UserProfile
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, GoldenProfileFactory, TierProgramFactory, UserProfileFactory
from tests.support import deliver

pytestmark = pytest.mark.django_db(transaction=True)

GOLDEN = Path(__file__).parent.parent / "contract" / "golden.json"


def test_a_profile_has_an_attribute_for_every_key() -> None:
    columns = {field.attname for field in UserProfile._meta.concrete_fields}
    attributes = {field.attribute for field in BODY if field.attribute and not field.attribute.startswith("tier_")}
    assert attributes <= columns


def test_the_golden_sample_goes_over_the_wire_byte_for_byte() -> None:
    program = TierProgramFactory(timeframe="fixed", reset_month=3, reset_day=23)
    with stopped(datetime(2017, 3, 23, 20, 49, 4, tzinfo=UTC)):
        profile = GoldenProfileFactory()
        TierMembership.objects.filter(profile=profile).update(
            tier=Tier.objects.get(program=program, title="Tier 1"),
            date_reached=datetime(2017, 3, 23, 19, tzinfo=UTC),
            date_assigned=datetime(2017, 3, 23, 19, tzinfo=UTC),
            expiration_date=datetime(2017, 3, 23, 20, tzinfo=UTC),
            reset_date=datetime(2017, 3, 23, 20, tzinfo=UTC),
            assigned_by_event="drop",
        )
        ClientEndpointFactory()
        profile.save()
        (request,) = deliver()
    expected = json.dumps(json.loads(GOLDEN.read_text()), separators=(",", ":"), ensure_ascii=False).encode()
    assert request.body == expected


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param(date(1974, 7, 6), datetime(1974, 7, 6, 12, tzinfo=UTC), id="a plain date is 12:00 UTC"),
        pytest.param("1974-07-06", datetime(1974, 7, 6, 12, tzinfo=UTC), id="so is its text"),
        pytest.param(142372800, datetime(1974, 7, 6, 20, tzinfo=UTC), id="epoch seconds are kept"),
        pytest.param(-86400, datetime(1969, 12, 31, tzinfo=UTC), id="before 1970 they are negative"),
        pytest.param(datetime(1974, 7, 6, 20, tzinfo=UTC), datetime(1974, 7, 6, 20, tzinfo=UTC), id="a moment is kept"),
    ],
)
def test_a_birth_date_is_stored_as_a_moment(given: Any, stored: datetime) -> None:
    UserProfileFactory(date_of_birth=given)
    assert UserProfile.objects.get().date_of_birth == stored


@pytest.mark.parametrize("given", ["someday", "1974-07-06T20:00", True, 10**20, "1974-13-40"])
def test_a_birth_date_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        UserProfileFactory(date_of_birth=given)


@pytest.mark.parametrize("custom", [[1], "text", {"a": {"b": 1}}, {"a": float("nan")}, {"a": [1]}])
def test_custom_data_that_is_no_flat_object_is_refused_in_forms(custom: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        UserProfileFactory.build(custom_data=custom).full_clean()
    assert "custom_data" in refused.value.message_dict


@pytest.mark.parametrize("custom", [None, {}, {"a": "b", "n": 1, "f": 1.5, "t": True}])
def test_custom_data_that_is_a_flat_object_is_allowed(custom: Any) -> None:
    UserProfileFactory.build(custom_data=custom).full_clean()


class TestThirdPartyId:
    def test_is_unique_where_set(self) -> None:
        UserProfileFactory.create_batch(2)
        UserProfileFactory(third_party_id="T-1")
        with pytest.raises(IntegrityError), transaction.atomic():
            UserProfileFactory(third_party_id="T-1")

    def test_differs_by_case_and_blanks(self) -> None:
        for text in ("t", "T", "t "):
            UserProfileFactory(third_party_id=text)
        assert UserProfile.objects.filter(third_party_id="t").count() == 1

    def test_is_null_where_blank(self) -> None:
        UserProfileFactory.create_batch(2, third_party_id="")
        assert set(UserProfile.objects.values_list("third_party_id", flat=True)) == {None}

    def test_is_not_written_by_an_instance_that_did_not_change_it(self) -> None:
        UserProfileFactory(third_party_id="old")
        stale = UserProfile.objects.get()
        UserProfile._base_manager.update(third_party_id="new")
        stale.save()
        assert UserProfile.objects.get().third_party_id == "new"

    def test_is_written_by_an_instance_that_changed_it(self) -> None:
        UserProfileFactory(third_party_id="old")
        profile = UserProfile.objects.get()
        profile.third_party_id = "mine"
        profile.save()
        assert UserProfile.objects.get().third_party_id == "mine"
        assert profile.third_party_id == "mine"

    def test_is_read_again_after_a_refresh(self) -> None:
        profile = UserProfileFactory(third_party_id="old")
        UserProfile._base_manager.update(third_party_id="new")
        profile.refresh_from_db()
        UserProfile._base_manager.update(third_party_id="newest")
        profile.save()
        assert UserProfile.objects.get().third_party_id == "newest"


def test_a_new_profile_starts_in_the_default_program() -> None:
    TierProgramFactory()
    assert UserProfileFactory().tier_membership.tier.title == "Tier 1"


def test_without_a_default_program_there_is_no_tier() -> None:
    UserProfileFactory()
    assert not TierMembership.objects.exists()
    assert not TierProgram.objects.exists()


def test_every_endpoint_option_holds_for_a_stored_snapshot() -> None:
    ClientEndpointFactory()
    UserProfileFactory(date_mobile_verified=datetime(2020, 1, 1, tzinfo=UTC))
    snapshot = load(Push.objects.get().payload)
    assert b'"dateMobileVerified":1,' in encode(snapshot, PayloadOptions())
    assert b'"dateMobileVerified":1577836800,' in encode(snapshot, PayloadOptions(mobile_verified_as_date=True))


def test_deleting_many_profiles_empties_their_log() -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(3)
    UserProfile.objects.all().delete()
    assert set(Push.objects.values_list("payload", "profile")) == {(None, None)}
