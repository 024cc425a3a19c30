"""A change becomes one push and one delivery per active endpoint, in the change's own transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Model
from django.db.models.signals import pre_init
from django.test import override_settings
from django.test.utils import isolate_apps

from live_push.api import award_points
from live_push.contract.payload import ProfilePayload
from live_push.models import Delivery, Push, TierMembership, UserProfile
from live_push.outbox import record
from live_push.outbox.behind import profiles_behind
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, command, deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


def bodies() -> list[dict[str, Any]]:
    return [json.loads(push.payload) for push in Push.objects.order_by("sequence")]


def forget() -> None:
    Push.objects.all().delete()


class RaisingSerializer(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        UserProfile.objects.filter(pk="no number").exists()
        raise RuntimeError("boom")


class QueryBreakingSerializer(ProfilePayload):
    """Its query fails, which on some databases would spoil the whole transaction."""

    def snapshot(self, row: Any) -> dict[str, Any]:
        UserProfile.objects.extra(where=["no_such_column = 1"]).exists()
        return super().snapshot(row)


class UnreadableSerializer(ProfilePayload):
    columns = ("no_such_column",)


class UnmadeSerializer(ProfilePayload):
    def __init__(self) -> None:
        raise RuntimeError("boom")


class WrongSerializer(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return {**super().snapshot(row), "country": 7}


def test_a_created_profile_is_pushed_to_every_active_endpoint() -> None:
    ClientEndpointFactory.create_batch(3)
    ClientEndpointFactory(is_active=False)
    profile = UserProfileFactory()
    push = Push.objects.get()
    assert (push.profile, push.trigger) == (profile, "created")
    assert Delivery.objects.filter(push=push, status="pending").count() == 3


def test_an_update_is_pushed_with_the_state_that_the_database_holds() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(total_points=5)
    forget()
    profile.total_points = F("total_points") + 7
    profile.city = "never written"
    profile.save(update_fields=["total_points"])
    (body,) = bodies()
    assert (body["totalPoints"], body["city"]) == (12, None)


def test_a_save_that_changes_nothing_pushes() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    profile.save()
    assert [push.trigger for push in Push.objects.order_by("sequence")] == ["created", "updated"]


def test_a_fixture_pushes_nothing(tmp_path: Any) -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    fixture = tmp_path / "profiles.json"
    fixture.write_text(serializers.serialize("json", [profile]))
    forget()
    call_command("loaddata", str(fixture), verbosity=0)
    assert not Push.objects.exists()


def load_as_a_fixture(text: str, folder: Path) -> None:
    fixture = folder / "profiles.json"
    fixture.write_text(text)
    call_command("loaddata", str(fixture), verbosity=0)


def save_as_a_revert_does(text: str, folder: Path) -> None:
    # django-reversion keeps a version as such a text, and a revert saves what it deserializes to.
    for version in serializers.deserialize("json", text):
        version.save()


@pytest.mark.parametrize("load", [load_as_a_fixture, save_as_a_revert_does])
def test_what_a_raw_save_changed_is_found_by_verify_only(load: Callable[[str, Path], None], tmp_path: Path) -> None:
    endpoint = ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    older = serializers.serialize("json", [profile])
    profile.city = "Linz"
    profile.save()
    deliver(OK)
    forget()
    load(older, tmp_path)
    assert (UserProfile.objects.get().city, Push.objects.count()) == ("Graz", 0)
    assert profiles_behind([profile.pk], endpoint, using="default") == []
    assert profiles_behind([profile.pk], endpoint, using="default", verify=True) == [profile.pk]
    command("resend_profile", "--stale")
    assert deliver(OK) == []
    command("resend_profile", "--stale", "--verify")
    assert [json.loads(request.body)["city"] for request in deliver(OK)] == ["Graz"]


def test_a_rolled_back_save_pushes_nothing() -> None:
    ClientEndpointFactory()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        UserProfileFactory()
        raise ZeroDivisionError
    assert not Push.objects.exists()


def test_nobody_to_send_to_leaves_no_push_behind() -> None:
    profile = UserProfileFactory()
    assert not Push.objects.exists()
    profile.refresh_from_db()
    assert profile.changed_sequence > 0


class TestOneCommit:
    def test_pushes_a_profile_once_with_its_last_state(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        with transaction.atomic():
            profile = UserProfileFactory(city="Graz")
            profile.city = "Linz"
            profile.save()
        assert [body["city"] for body in bodies()] == ["Linz"]
        assert Delivery.objects.get().position == Push.objects.get().sequence

    def test_of_two_profiles_pushes_both(self) -> None:
        ClientEndpointFactory()
        with transaction.atomic():
            UserProfileFactory.create_batch(2)
        assert Push.objects.count() == 2

    def test_forgets_what_a_rolled_back_savepoint_recorded(self) -> None:
        ClientEndpointFactory()
        with transaction.atomic():
            profile = UserProfileFactory(city="Graz")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                profile.city = "Linz"
                profile.save()
                raise ZeroDivisionError
        assert [body["city"] for body in bodies()] == ["Graz"]

    def test_records_anew_where_the_savepoint_took_its_only_push_away(self) -> None:
        ClientEndpointFactory()
        first, second = UserProfileFactory.create_batch(2)
        forget()
        with transaction.atomic():
            first.save()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                second.save()
                raise ZeroDivisionError
            second.city = "Wien"
            second.save()
        assert Push.objects.get(profile=second).payload is not None
        assert Push.objects.count() == 2

    def test_never_reaches_into_the_next_one(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        forget()
        for _ in range(2):
            with transaction.atomic():
                profile.save()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            profile.save()
            raise ZeroDivisionError
        profile.save()
        assert Push.objects.count() == 3

    def test_keeps_the_weightier_tier_event(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        profile = UserProfileFactory()
        forget()
        membership = TierMembership.objects.get(profile=profile)
        with transaction.atomic():
            membership.assigned_by_event = "jump"
            membership.save()
            membership.assigned_by_event = "update"
            membership.save()
        assert [body["tierInfo"]["assignedByEvent"] for body in bodies()] == ["jump"]

    def test_keeps_the_weightier_tier_event_after_a_mere_profile_save(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        profile = UserProfileFactory()
        forget()
        with transaction.atomic():
            profile.save()
            award_points(profile, 1200)
            award_points(profile, 1)
        (body,) = bodies()
        assert (body["tierInfo"]["assignedByEvent"], body["tierInfo"]["timeframeScore"]) == ("jump", 1201)
        assert Push.objects.get().trigger == "tier"

    def test_leaves_the_row_with_the_event_that_was_told(self) -> None:
        endpoint = ClientEndpointFactory()
        TierProgramFactory()
        with transaction.atomic():
            profile = UserProfileFactory()
            award_points(profile, 100)
        (body,) = bodies()
        assert body["tierInfo"]["assignedByEvent"] == "start"
        assert TierMembership.objects.get().assigned_by_event == "start"
        deliver(OK)
        assert profiles_behind([profile.pk], endpoint, using="default", verify=True) == []

    def test_lets_a_mere_profile_save_keep_no_old_event(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        profile = UserProfileFactory()
        forget()
        membership = TierMembership.objects.get(profile=profile)
        with transaction.atomic():
            profile.save()
            membership.assigned_by_event = "update"
            membership.save()
        assert [body["tierInfo"]["assignedByEvent"] for body in bodies()] == ["update"]


class TestBulkWrites:
    def test_update_pushes_each_matching_profile_once(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3, city="Graz")
        UserProfileFactory(city="Linz")
        forget()
        UserProfile.objects.filter(city="Graz").update(city="Wien")
        assert [body["city"] for body in bodies()] == ["Wien"] * 3

    def test_bulk_create_pushes_and_starts_the_tiers(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        UserProfile.objects.bulk_create([UserProfile(user_name="a"), UserProfile(user_name="b")])
        assert [body["fanLevelName"] for body in bodies()] == ["Tier 1"] * 2

    def test_bulk_create_that_ignores_conflicts_pushes_what_was_inserted(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory(third_party_id="T-1")
        forget()
        rows = [UserProfile(third_party_id="T-1"), UserProfile(third_party_id="T-2")]
        UserProfile.objects.bulk_create(rows, ignore_conflicts=True)
        assert [body["thirdPartyId"] for body in bodies()] == ["T-2"]

    def test_bulk_update_pushes_once(self) -> None:
        ClientEndpointFactory()
        profiles = UserProfileFactory.create_batch(2)
        forget()
        for profile in profiles:
            profile.city = "Wien"
        UserProfile.objects.bulk_update(profiles, ["city"])
        assert [body["city"] for body in bodies()] == ["Wien"] * 2

    def test_a_very_large_one_records_pushes_without_bodies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(record, "SNAPSHOTS_AT_MOST", 2)
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        forget()
        UserProfile.objects.update(city="Wien")
        assert set(Push.objects.values_list("payload", "sequence", "trigger")) == {(None, None, "updated")}
        assert set(Delivery.objects.values_list("priority", flat=True)) == {2}

    def test_a_slice_can_not_be_updated_and_nothing_is_recorded(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        forget()
        with pytest.raises(TypeError):
            UserProfile.objects.all()[:1].update(city="Wien")
        assert not Push.objects.exists()


class TestTiersAndProxies:
    def test_a_saved_membership_is_pushed(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        profile = UserProfileFactory()
        forget()
        profile.tier_membership.save()
        assert Push.objects.get().trigger == "tier"

    def test_a_deleted_membership_is_pushed_as_a_member_without_a_tier(self) -> None:
        ClientEndpointFactory()
        TierProgramFactory()
        profile = UserProfileFactory()
        forget()
        profile.tier_membership.delete()
        (body,) = bodies()
        assert (body["fanLevelName"], body["tierInfo"]["currentLevel"]) == (None, None)

    def test_a_proxy_of_a_profile_is_a_profile(self) -> None:
        with isolate_apps("live_push"):

            class Customer(UserProfile):
                class Meta:
                    app_label = "live_push"
                    proxy = True

        ClientEndpointFactory()
        customer = Customer.objects.create(city="Graz")
        customer.save()
        assert [push.trigger for push in Push.objects.order_by("sequence")] == ["created", "updated"]
        customer.delete()
        assert {push.payload for push in Push.objects.all()} == {None}


class TestSequence:
    def test_rises_with_every_push_of_a_profile(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        for _ in range(20):
            profile.save()
        sequences = list(Push.objects.order_by("pk").values_list("sequence", flat=True))
        assert sequences == sorted(set(sequences))

    def test_never_falls_back_because_of_a_stale_instance(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        stale = UserProfile.objects.get(pk=profile.pk)
        UserProfile._base_manager.filter(pk=profile.pk).update(push_sequence=2**60)
        stale.save()
        assert Push.objects.order_by("pk").last().sequence == 2**60 + 1

    def test_comes_with_the_date_of_the_update(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        before = UserProfile.objects.get().date_last_updated
        UserProfile.objects.filter(pk=profile.pk).update(city="Wien")
        profile.refresh_from_db()
        assert profile.date_last_updated > before
        assert bodies()[-1]["dateLastUpdated"] == int(profile.date_last_updated.timestamp())


class TestASaveNeverFails:
    @pytest.mark.parametrize(
        "serializer",
        [
            *(RaisingSerializer, QueryBreakingSerializer, UnreadableSerializer, UnmadeSerializer, WrongSerializer),
            pytest.param(Push, id="which is none"),
            pytest.param(None, id="that is nowhere"),
        ],
    )
    def test_because_of_a_serializer(self, serializer: type | None) -> None:
        ClientEndpointFactory()
        path = f"{serializer.__module__}.{serializer.__name__}" if serializer else "nowhere.Serializer"
        with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": path}):
            profile = UserProfileFactory()
        assert UserProfile.objects.filter(pk=profile.pk).exists()
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason) == ("failed", "payload")
        assert delivery.push.error

    def test_because_of_custom_data_that_is_no_object(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory(custom_data=[1, 2])
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason) == ("failed", "payload")
        assert "customData" in delivery.push.error

    def test_and_a_later_save_in_the_same_commit_mends_the_push(self) -> None:
        ClientEndpointFactory()
        with transaction.atomic():
            profile = UserProfileFactory(custom_data=[1, 2])
            profile.custom_data = {"a": "b"}
            profile.save()
        assert Delivery.objects.get().status == "pending"

    def test_because_the_engine_raises_when_woken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(using: str) -> None:
            raise OSError("no broker")

        monkeypatch.setattr("live_push.engines.wake", broken)
        ClientEndpointFactory()
        UserProfileFactory()
        assert Delivery.objects.get().status == "pending"


class TestCost:
    @pytest.mark.parametrize("endpoints", [1, 5, 20])
    def test_a_save_costs_four_statements_however_many_endpoints_there_are(self, endpoints: int) -> None:
        # The member's row, the snapshot, the push and the deliveries; PostgreSQL inserts the last two together.
        expected = 3 if connection.vendor == "postgresql" else 4
        ClientEndpointFactory.create_batch(endpoints)
        profile = UserProfileFactory()
        assert len(statements(profile.save)) == expected
        assert len(statements(lambda: profile.save(update_fields=["city"]))) == expected
        assert Delivery.objects.count() == 3 * endpoints

    def test_a_save_makes_no_instance_of_a_model(self) -> None:
        ClientEndpointFactory.create_batch(5)
        profile = UserProfileFactory()
        made: list[type[Model]] = []

        def note(sender: type[Model], **kwargs: Any) -> None:
            made.append(sender)

        pre_init.connect(note)
        try:
            profile.save()
        finally:
            pre_init.disconnect(note)
        assert made == []

    @pytest.mark.parametrize("endpoints", [1, 20])
    @pytest.mark.parametrize("profiles", [1, 50])
    def test_a_bulk_update_costs_two_more_than_a_save(self, endpoints: int, profiles: int) -> None:
        ClientEndpointFactory.create_batch(endpoints)
        UserProfileFactory.create_batch(profiles)
        of_a_save = len(statements(UserProfile.objects.first().save))  # type: ignore[union-attr]
        # It asks which rows match, and steps their sequences.
        assert len(statements(lambda: UserProfile.objects.update(city="Wien"))) == of_a_save + 2

    def test_a_resave_in_the_same_commit_costs_a_bounded_number_of_statements(self) -> None:
        ClientEndpointFactory.create_batch(5)
        profile = UserProfileFactory()

        def twice() -> None:
            with transaction.atomic():
                profile.save()
                profile.save()

        assert len(statements(twice)) <= 15


def test_the_outbox_rows_are_written_with_the_change_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> int:
        raise OSError("the outbox can't be written")

    ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    monkeypatch.setattr(record, "insert_and_fan_out", broken)
    profile.city = "Wien"
    with pytest.raises(OSError, match="outbox"):
        profile.save()
    profile.refresh_from_db()
    assert profile.city == "Graz"
