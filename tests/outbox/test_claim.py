"""A worker takes due deliveries: in order, under a lease, within the endpoint's limits."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from live_push.models import ClientEndpoint, Confirmation, Delivery, EndpointHealth, Push
from live_push.models.clock import stopped
from live_push.outbox import claim as claiming
from live_push.outbox import due_work, resend
from live_push.outbox.claim import claim, renew_slots
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.claimed_delivery import ClaimedDelivery
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, deliver, statements, status

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(worker: ClaimRequest | None = None) -> list[ClaimedDelivery]:
    shares = claim(worker or ClaimRequest(name="w"), using="default")
    return [delivery for share in shares for delivery in share.deliveries]


def test_a_claim_carries_lease_and_token() -> None:
    with stopped(START):
        ClientEndpointFactory()
        UserProfileFactory()
        (mine,) = claimed()
    row = Delivery.objects.get()
    assert (row.status, row.claims_made, row.attempts_made) == ("sending", 1, 0)
    assert row.lease_token == mine.lease_token is not None
    assert row.leased_until == START + timedelta(seconds=60)


def test_what_one_worker_has_no_other_gets() -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(3)
    assert len(claimed(ClaimRequest(name="one"))) == 3
    assert claimed(ClaimRequest(name="two")) == []


def test_a_pair_has_one_delivery_in_flight() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    profile.save()
    (first,) = claimed()
    assert Push.objects.get(pk=first.push.pk).trigger == "created"
    assert claimed() == []


def test_the_database_itself_refuses_two_in_flight_for_one_pair() -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory()
    profile.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.update(status="sending", next_attempt_at=None)


def test_other_profiles_and_endpoints_are_not_held_up() -> None:
    ClientEndpointFactory.create_batch(2)
    one = UserProfileFactory()
    claimed()
    one.save()
    other = UserProfileFactory()
    assert {delivery.profile_id for delivery in claimed()} == {other.pk}


def test_a_claim_lost_to_another_worker_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    choose = claiming._candidates

    def overtaken(*args: object, **kwargs: object) -> list[Delivery]:
        found = choose(*args, **kwargs)
        Delivery.objects.update(status="cancelled", next_attempt_at=None)
        return found

    monkeypatch.setattr(claiming, "_candidates", overtaken)
    assert claimed() == []


class TestPriority:
    def test_live_updates_go_before_retries_and_retries_before_resends(self) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=1)
        retried, resent, live = UserProfileFactory.create_batch(3)
        Push.objects.all().delete()
        resend.record([resent.pk], using="default")
        retried.save()
        Delivery.objects.filter(profile=retried).update(priority=1)
        live.save()
        order = []
        for _ in range(3):
            shares = claim(ClaimRequest(name="w", window=1, held={endpoint.pk: 0}), using="default")
            (delivery,) = shares[0].deliveries
            order.append(delivery.profile_id)
            Delivery.objects.filter(pk=delivery.pk).update(status="succeeded", lease_token=None)
        assert order == [live.pk, retried.pk, resent.pk]


class TestOrderings:
    @pytest.mark.parametrize(
        ("ordering", "sent"),
        [("in_order", ["a", "b", "c"]), ("strict", ["a", "b", "c"]), ("latest_only", ["c"])],
    )
    def test_updates_that_all_succeed(self, ordering: str, sent: list[str]) -> None:
        ClientEndpointFactory(ordering=ordering)
        profile = UserProfileFactory(city="a")
        for city in "bc":
            profile.city = city
            profile.save()
        requests = deliver()
        assert [request.body.split(b'"city":"')[1][:1].decode() for request in requests] == sent

    @pytest.mark.parametrize(
        ("ordering", "sent"),
        [("in_order", ["a", "b", "c"]), ("strict", ["a"]), ("latest_only", ["c"])],
    )
    def test_updates_that_all_fail_once(self, ordering: str, sent: list[str]) -> None:
        ClientEndpointFactory(ordering=ordering)
        profile = UserProfileFactory(city="a")
        for city in "bc":
            profile.city = city
            profile.save()
        requests = deliver(status(404))
        assert [request.body.split(b'"city":"')[1][:1].decode() for request in requests] == sent

    def test_in_order_a_newer_update_supersedes_a_failed_one(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(status(404))
        profile.save()
        deliver()
        old, new = Delivery.objects.order_by("pk")
        assert (old.status, old.reason, new.status) == ("cancelled", "superseded", "succeeded")

    def test_strict_waits_until_the_older_update_ended(self) -> None:
        ClientEndpointFactory(ordering="strict")
        with stopped(START):
            profile = UserProfileFactory()
            deliver(status(404))
            profile.save()
            assert deliver() == []
        with stopped(START + timedelta(seconds=11)):
            assert len(deliver()) == 2

    def test_what_is_older_than_the_accepted_state_is_never_sent(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        old = Delivery.objects.get()
        Confirmation.objects.create(
            endpoint=endpoint, profile=profile, sequence=old.position + 1, confirmed_at=START, digest=""
        )
        assert deliver() == []
        old.refresh_from_db()
        assert (old.status, old.reason) == ("cancelled", "superseded")

    def test_blocked_updates_do_not_hide_another_member(self) -> None:
        ClientEndpointFactory(ordering="strict")
        with stopped(START):
            profile = UserProfileFactory()
            deliver(status(404))
            for _ in range(50):
                profile.save()
            other = UserProfileFactory()
            assert {delivery.profile_id for delivery in claimed(ClaimRequest(name="w", window=1))} == {other.pk}


class TestLimits:
    def test_the_cap_holds_over_all_workers(self) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=3)
        UserProfileFactory.create_batch(20)
        one = claim(ClaimRequest(name="one", workers=2, window=2), using="default")
        two = claim(ClaimRequest(name="two", workers=2, window=2), using="default")
        third = claim(ClaimRequest(name="three", workers=2), using="default")
        assert [share.slots for share in [*one, *two, *third]] == [1, 1, 1]
        assert claimed(ClaimRequest(name="four", workers=2)) == []
        assert len(EndpointHealth.objects.get(endpoint=endpoint).slots) == 3

    def test_places_of_a_worker_that_died_come_back_with_time(self) -> None:
        ClientEndpointFactory(max_in_flight=1)
        with stopped(START):
            UserProfileFactory.create_batch(300)
            assert claimed(ClaimRequest(name="dead", window=1))
            assert not claimed(ClaimRequest(name="alive"))
        with stopped(START + timedelta(seconds=17.9)):
            assert not claimed(ClaimRequest(name="alive"))
        with stopped(START + timedelta(seconds=18.1)):
            assert claimed(ClaimRequest(name="alive"))

    def test_places_are_leased_anew_without_taking_more(self) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=2)
        with stopped(START):
            UserProfileFactory.create_batch(3)
            claimed(ClaimRequest(name="w", window=1))
        with stopped(START + timedelta(seconds=10)):
            (share,) = renew_slots(ClaimRequest(name="w", held={endpoint.pk: 1}), [endpoint.pk], using="default")
        assert (share.slots, share.deliveries) == (1, [])
        assert EndpointHealth.objects.get().slots == {"w": [1, (START + timedelta(seconds=28)).timestamp()]}

    @pytest.mark.parametrize("state", ["open", "half_open"])
    def test_an_endpoint_that_rests_or_is_probed_leases_no_places_anew(self, state: str) -> None:
        endpoint = ClientEndpointFactory()
        with stopped(START):
            EndpointHealth.objects.update(breaker_state=state, rests_until=START)
            (share,) = renew_slots(ClaimRequest(name="w", held={endpoint.pk: 1}), [endpoint.pk], using="default")
        assert share.slots == 0

    def test_a_worker_keeps_places_for_what_it_has_under_way(self) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=4)
        UserProfileFactory.create_batch(8)
        assert len(claimed(ClaimRequest(name="one", window=4))) == 4
        (share,) = claim(ClaimRequest(name="one", window=4, workers=2, in_flight={endpoint.pk: 4}), using="default")
        assert share.slots == 4
        assert claimed(ClaimRequest(name="two", workers=2)) == []

    def test_a_worker_that_overslept_its_lease_keeps_no_places_for_what_ended_meanwhile(self) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=1)
        with stopped(START):
            UserProfileFactory.create_batch(3)
            assert len(claimed(ClaimRequest(name="one", window=1))) == 1
        with stopped(START + timedelta(hours=1)):
            assert len(claimed(ClaimRequest(name="two", window=1))) == 1
            (share,) = claim(ClaimRequest(name="one", window=1, in_flight={endpoint.pk: 1}), using="default")
        assert share.slots == 0

    def test_the_rate_limit_holds_over_all_workers(self) -> None:
        ClientEndpointFactory(rate_limit_per_second=2)
        with stopped(START):
            UserProfileFactory.create_batch(9)
            assert len(claimed(ClaimRequest(name="one"))) == 2
            assert claimed(ClaimRequest(name="two")) == []
        with stopped(START + timedelta(seconds=0.5)):
            assert len(claimed(ClaimRequest(name="two"))) == 1
        with stopped(START + timedelta(seconds=60)):
            assert len(claimed(ClaimRequest(name="one"))) == 2

    def test_every_endpoint_with_due_work_gets_its_share_of_the_window(self) -> None:
        ClientEndpointFactory.create_batch(4, max_in_flight=2)
        UserProfileFactory.create_batch(50)
        shares = claim(ClaimRequest(name="w", window=40), using="default")
        assert [len(share.deliveries) for share in shares] == [10] * 4


class TestARestingEndpoint:
    def test_is_left_alone_until_the_client_asked(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(2)
            deliver(status(503, retry_after="120"))
        with stopped(START + timedelta(seconds=119)):
            UserProfileFactory()
            assert deliver() == []
        with stopped(START + timedelta(seconds=121)):
            assert len(deliver()) == 3

    def test_opens_after_five_failures_and_then_sends_one_probe(self) -> None:
        endpoint = ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(9)
            assert len(deliver(status(500))) == 5
        assert EndpointHealth.objects.get(endpoint=endpoint).breaker_state == "open"
        with stopped(START + timedelta(seconds=31)):
            assert len(claimed(ClaimRequest(name="one"))) == 1
            assert claimed(ClaimRequest(name="two")) == []

    def test_uses_up_no_attempts(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(9)
            deliver(status(500))
        with stopped(START + timedelta(seconds=20)):
            deliver(status(500))
        assert sum(Delivery.objects.values_list("attempts_made", flat=True)) == 5

    def test_is_probed_with_a_different_profile_each_time(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(9)
            deliver(status(500))
        probed = []
        for minutes in (1, 3, 6):
            with stopped(START + timedelta(minutes=minutes)):
                (delivery,) = claimed(ClaimRequest(name="w"))
                probed.append(delivery.profile_id)
                Delivery.objects.filter(pk=delivery.pk).update(
                    status="pending", next_attempt_at=START, lease_token=None, leased_until=None
                )
                EndpointHealth.objects.update(breaker_state="open", rests_until=START)
        assert probed[0] != probed[1] != probed[2]

    def test_closes_after_a_probe_that_succeeded(self) -> None:
        endpoint = ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(9)
            deliver(status(500))
        with stopped(START + timedelta(seconds=100)):
            assert len(deliver()) == 9
        assert EndpointHealth.objects.get(endpoint=endpoint).breaker_state == "closed"


class TestTime:
    def test_a_retry_waits_for_its_time(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            deliver(status(404))
        with stopped(START + timedelta(seconds=9)):
            assert deliver() == []
        with stopped(START + timedelta(seconds=10)):
            assert len(deliver()) == 1

    def test_nothing_is_sent_at_or_after_eight_hours(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            deliver(status(404))
        with stopped(START + timedelta(hours=8)):
            assert deliver() == []
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason) == ("failed", "exhausted")

    def test_a_delivery_that_was_never_attempted_never_expires(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
        with stopped(START + timedelta(days=30)):
            assert len(deliver()) == 1


def test_an_endpoint_that_is_switched_off_just_now_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    look = due_work.find_due_work

    def overtaken(*args: Any, **kwargs: Any) -> dict[int, due_work.DueWork]:
        found = look(*args, **kwargs)
        ClientEndpoint.objects.update(is_active=False)
        return found

    monkeypatch.setattr(due_work, "find_due_work", overtaken)
    assert claimed() == []


def test_an_inactive_endpoint_gets_nothing() -> None:
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    endpoint.is_active = False
    endpoint.save()
    assert deliver() == []
    assert Delivery.objects.get().status == "pending"


def test_the_queries_for_due_work_use_their_index() -> None:
    """On tables with rows, after ANALYZE, with several endpoints."""
    endpoints = ClientEndpointFactory.create_batch(3)
    over = UserProfileFactory.create_batch(400)[20:]
    Delivery.objects.filter(profile__in=over).update(status="succeeded", next_attempt_at=None, ended_at=START)
    with connection.cursor() as cursor:
        names = ("live_push_delivery", "live_push_clientendpoint", "live_push_endpointhealth", "live_push_userprofile")
        for table in names:
            cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
    with stopped(START + timedelta(days=400)):
        asked = statements(lambda: claim(ClaimRequest(name="w"), using="default"))
    plans = [explain(sql) for sql in asked if re.search("AND [^ ]*next_attempt_at.? <= ", sql)]
    # Who has due work, and of which priorities; then what is due to each, here live updates only.
    assert len(plans) == 1 + len(endpoints)
    for plan in plans:
        assert "live_push_due" in plan


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
        return str(cursor.fetchall())
