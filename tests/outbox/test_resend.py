"""Pushes without a body: the current state, drawn when it is first sent."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from live_push import api
from live_push.models import Confirmation, Delivery, Push, UserProfile
from live_push.models.clock import stopped
from live_push.outbox import draw, resend
from live_push.outbox.behind import profiles_behind
from live_push.outbox.event_ids import EventIds
from live_push.outbox.fan_out import fan_out
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, command, deliver, multiply_profiles, statements, status

pytestmark = pytest.mark.django_db(transaction=True)


def sent(requests: list[Any]) -> list[str]:
    return [json.loads(request.body)["city"] for request in requests]


def test_a_resend_is_drawn_when_it_is_sent() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    deliver()
    api.push_profile(profile)
    assert Push.objects.get(trigger="resend").payload is None
    UserProfile._base_manager.update(city="Wien")
    assert sent(deliver()) == ["Wien"]


def test_a_drawn_resend_keeps_its_body_for_every_retry() -> None:
    ClientEndpointFactory()
    with stopped(START):
        profile = UserProfileFactory(city="Graz")
        deliver()
        api.push_profile(profile)
        (first,) = deliver(status(404))
        UserProfile._base_manager.update(city="Wien")
    with stopped(START + timedelta(seconds=10)):
        (second,) = deliver()
    assert first.body == second.body


def test_a_resend_goes_to_every_endpoint_with_one_body_and_one_sequence() -> None:
    ClientEndpointFactory.create_batch(3)
    profile = UserProfileFactory()
    deliver()
    api.push_profile(profile)
    requests = deliver()
    assert len({request.body for request in requests}) == 1
    assert len({request.headers["live-push-sequence"] for request in requests}) == 1
    assert len(requests) == 3


def test_a_resend_is_no_update_of_the_profile() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    deliver()
    before = UserProfile.objects.get()
    api.push_profile(profile)
    deliver()
    after = UserProfile.objects.get()
    assert (before.date_last_updated, before.changed_sequence) == (after.date_last_updated, after.changed_sequence)
    assert after.push_sequence > before.push_sequence


def test_a_resend_to_one_endpoint_leaves_the_others_up_to_date() -> None:
    one, other = ClientEndpointFactory.create_batch(2)
    profile = UserProfileFactory()
    deliver()
    assert api.push_profile(profile, endpoints=[one]) == 1
    deliver()
    assert not UserProfile.objects.behind_or_never_sent(one.pk).exists()
    assert not UserProfile.objects.behind_or_never_sent(other.pk).exists()


def test_a_newer_update_makes_a_waiting_resend_pointless() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    deliver()
    api.push_profile(profile)
    profile.city = "Wien"
    profile.save()
    assert sent(deliver()) == ["Wien"]
    assert Delivery.objects.get(push__trigger="resend").reason == "superseded"


def test_a_resend_does_not_overtake_an_update_that_waits() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    api.push_profile(profile)
    assert [json.loads(request.body)["city"] for request in deliver()] == ["Graz", "Graz"]
    sequences = list(Push.objects.order_by("pk").values_list("sequence", flat=True))
    assert sequences == sorted(sequences)


def test_an_inactive_endpoint_is_not_resent_to() -> None:
    endpoint = ClientEndpointFactory(is_active=False)
    profile = UserProfileFactory()
    assert api.push_profile(profile, endpoints=[endpoint]) == 0
    assert not Push.objects.exists()


def test_a_resend_whose_payload_can_not_be_built_fails_with_the_sentence() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    deliver()
    UserProfile._base_manager.update(custom_data=[1])
    api.push_profile(profile)
    assert deliver() == []
    delivery = Delivery.objects.get(push__trigger="resend")
    assert (delivery.status, delivery.reason) == ("failed", "payload")


def test_many_profiles_are_resent_in_a_bounded_number_of_statements(django_assert_max_num_queries: Any) -> None:
    ClientEndpointFactory.create_batch(5)
    UserProfileFactory.create_batch(30)
    with django_assert_max_num_queries(12):
        assert api.push_profiles(UserProfile.objects.all()) == 150


class TestInBulk:
    def test_statements_do_not_grow_with_the_profiles(self) -> None:
        ClientEndpointFactory.create_batch(3)
        UserProfileFactory()
        few = len(statements(lambda: api.push_profiles(UserProfile.objects.all())))
        multiply_profiles(2000)
        many = len(statements(lambda: api.push_profiles(UserProfile.objects.all())))
        assert few == many
        assert Push.objects.filter(trigger="resend").count() == 2001
        assert Delivery.objects.filter(push__trigger="resend").count() == 3 * 2001

    def test_every_event_has_a_random_id_of_its_own(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        multiply_profiles(300)
        api.push_profiles(UserProfile.objects.all())
        api.push_profiles(UserProfile.objects.all())
        ids = set(Push.objects.filter(trigger="resend").values_list("event_id", flat=True))
        assert len(ids) == 600
        assert {(event_id.version, event_id.variant) for event_id in ids} == {(4, uuid.RFC_4122)}

    def test_no_other_push_is_taken_for_one_of_the_statement(self) -> None:
        endpoint = ClientEndpointFactory()
        ours, other = UserProfileFactory.create_batch(2)
        Push.objects.all().delete()
        ids = EventIds(connection.vendor)
        near = f"{ids.base[:8]}00ff4{ids.base[13:31]}{'0' if ids.base[31] == 'f' else 'f'}"
        for profile, event_id in ((ours, f"{ids.base[:8]}0001{ids.base[12:]}"), (other, near)):
            Push.objects.create(event_id=event_id, profile=profile, trigger="resend", created_at=START)
        assert fan_out(ids, using="default") == 1
        assert list(Delivery.objects.values_list("profile", "endpoint")) == [(ours.pk, endpoint.pk)]

    def test_what_nobody_wants_leaves_nothing(self) -> None:
        UserProfileFactory.create_batch(3)
        assert api.push_profiles(UserProfile.objects.all()) == 0
        assert not Push.objects.exists()

    def test_a_slice_and_a_union_are_selections_too(self) -> None:
        ClientEndpointFactory()
        first, second, third = UserProfileFactory.create_batch(3)
        profiles = UserProfile.objects.all()
        assert api.push_profiles(profiles.order_by("-pk")[:2]) == 2
        assert api.push_profiles(profiles.filter(pk=first.pk).union(profiles.filter(pk=second.pk))) == 2
        resent = Push.objects.filter(trigger="resend").values_list("profile", flat=True)
        assert sorted(resent) == [first.pk, second.pk, second.pk, third.pk]

    def test_the_memory_it_takes_does_not_grow_with_the_profiles(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        peaks = []
        for number in (10_000, 100_000):
            multiply_profiles(number)
            tracemalloc.start()
            command("resend_profile", "--all", "--yes", verbosity=0)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert Delivery.objects.filter(push__trigger="resend").count() == 110_000
        assert peaks[1] < peaks[0] + 2_000_000


class TestProfilesBehind:
    def test_is_who_was_never_sent_or_is_behind(self) -> None:
        endpoint = ClientEndpointFactory()
        fine, behind = UserProfileFactory.create_batch(2)
        deliver()
        UserProfile._base_manager.filter(pk=behind.pk).update(changed_sequence=2**61)
        endpoint.is_active = False
        endpoint.save()
        never = UserProfileFactory()
        ids = [fine.pk, behind.pk, never.pk]
        assert profiles_behind(ids, endpoint, using="default") == [behind.pk, never.pk]

    def test_leaves_out_whose_current_state_waits_already(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        assert profiles_behind([profile.pk], endpoint, using="default") == []

    def test_by_digest_finds_what_raw_sql_changed(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        UserProfile._base_manager.update(city="changed by raw SQL")
        assert profiles_behind([profile.pk], endpoint, using="default") == []
        assert profiles_behind([profile.pk], endpoint, using="default", verify=True) == [profile.pk]

    @pytest.mark.parametrize("capturing", [False, True])
    def test_by_digest_leaves_out_whose_current_state_waits_already(self, capturing: bool) -> None:
        endpoint = ClientEndpointFactory(capturing=capturing)
        saved, resent, changed = profiles = UserProfileFactory.create_batch(3)
        deliver(lambda request: status(200, b'{"third_party_id": "T-%d"}' % json.loads(request.body)["id"]))
        for profile in (saved, changed):
            profile.refresh_from_db()
            profile.city = "Graz"
            profile.save()
        UserProfile._base_manager.filter(pk__in=[resent.pk, changed.pk]).update(city="changed by raw SQL")
        resend.record([resent.pk], using="default", endpoint_ids=[endpoint.pk])
        ids = [profile.pk for profile in profiles]
        assert profiles_behind(ids, endpoint, using="default", verify=True) == [changed.pk]

    def test_by_digest_overlooks_the_id_that_the_endpoint_gave(self) -> None:
        endpoint, other = ClientEndpointFactory(capturing=True), ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(status(200, b'{"third_party_id": "T-1"}'))
        assert profiles_behind([profile.pk], endpoint, using="default", verify=True) == []
        assert profiles_behind([profile.pk], other, using="default", verify=True) == [profile.pk]

    def test_by_digest_overlooks_the_order_of_custom_keys(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(custom_data={"a": 1, "b": 2})
        deliver()
        UserProfile._base_manager.update(custom_data={"b": 2, "a": 1})
        assert profiles_behind([profile.pk], endpoint, using="default", verify=True) == []


def test_a_draw_fills_each_push_once() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    deliver()
    api.push_profile(profile)
    push = Push.objects.get(trigger="resend")
    draw.draw([push.pk], using="default")
    drawn = Push.objects.get(pk=push.pk)
    draw.draw([push.pk], using="default")
    assert Push.objects.get(pk=push.pk).sequence == drawn.sequence
    assert Delivery.objects.get(push=push).position == drawn.sequence


@override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": True})
def test_a_resend_works_with_encrypted_payloads() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(city="Graz")
    deliver()
    api.push_profile(profile)
    assert sent(deliver()) == ["Graz"]
    assert Confirmation.objects.count() == 1


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="Only PostgreSQL plans by statistics that may be missing."
)
def test_to_find_who_is_behind_never_joins_all_that_waits_although_the_tables_were_never_analyzed() -> None:
    with connection.cursor() as cursor:
        # PostgreSQL forgets how many rows it saw in these tables, for example when it analyzed them after other tests.
        cursor.execute("TRUNCATE live_push_userprofile, live_push_push CASCADE")
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    multiply_profiles(200)
    api.push_profiles(UserProfile.objects.all())
    ids = list(UserProfile.objects.values_list("pk", flat=True))
    (asked,) = statements(lambda: profiles_behind(ids, endpoint, verify=False, using="default"))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}")
        ((plan,),) = cursor.fetchone()
    assert rows_read(plan["Plan"]) < 10 * len(ids)


def rows_read(plan: dict[str, Any]) -> float:
    """Return the number of rows that the parts of an executed plan read, those that they left out included."""
    removed = sum(value for key, value in plan.items() if key.startswith("Rows Removed by"))
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return float(own + sum(rows_read(part) for part in plan.get("Plans", ())))
