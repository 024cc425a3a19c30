"""What an idle worker asks the database before it claims."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection

from live_push.models import (
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    Priority,
    Push,
    UserProfile,
    WorkerHeartbeat,
)
from live_push.models.clock import db_now, stopped
from live_push.outbox import idle, start
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, statements

from .test_claim import explain

pytestmark = pytest.mark.django_db(transaction=True)


def look(seconds: float = 0) -> idle.Look:
    with stopped(START + timedelta(seconds=seconds)):
        return idle.look(using="default")


def record(number: int = 1) -> None:
    with stopped(START):
        UserProfileFactory.create_batch(number)


class TestALook:
    def test_finds_nothing_in_an_empty_outbox(self) -> None:
        ClientEndpointFactory()
        assert look() == (None, False)
        assert not look().is_due

    @pytest.mark.parametrize("priority", Priority)
    def test_says_when_the_first_delivery_is_due(self, priority: Priority) -> None:
        ClientEndpointFactory.create_batch(2)
        record(2)
        Delivery.objects.update(next_attempt_at=START + timedelta(hours=1))
        Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(
            priority=priority, next_attempt_at=START + timedelta(seconds=2.5)
        )
        assert look() == (2.5, False)
        assert look(2.5).is_due
        assert look(3).is_due

    def test_costs_one_statement(self) -> None:
        assert len(statements(lambda: idle.look(using="default"))) == 1

    def test_compares_with_the_clock_of_the_database(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        Delivery.objects.update(next_attempt_at=db_now("default") + timedelta(hours=1))
        seconds = idle.look(using="default").seconds_until_due
        assert seconds is not None
        assert 3000 < seconds <= 3600

    def test_waits_for_the_end_of_an_endpoint_s_rest(self) -> None:
        endpoint = ClientEndpointFactory()
        record()
        EndpointHealth.objects.filter(pk=endpoint.pk).update(rests_until=START + timedelta(seconds=30))
        assert look() == (30, False)
        assert look(30).is_due

    def test_leaves_out_endpoints_that_are_not_active(self) -> None:
        ClientEndpointFactory()
        record()
        ClientEndpoint.objects.update(is_active=False)
        assert look().seconds_until_due is None

    def test_leaves_out_isolated_deliveries(self) -> None:
        ClientEndpointFactory()
        record()
        Delivery.objects.update(stalls=1, last_error_code="lease_lost")
        assert look().seconds_until_due is None

    def test_sees_whether_a_worker_holds_a_delivery(self) -> None:
        ClientEndpointFactory()
        record()
        with stopped(START):
            (claimed,) = claim(ClaimRequest(name="w"), using="default")
            assert look() == (None, True)
            start.start(claimed.deliveries, using="default")
            assert look() == (None, True)


class TestChores:
    def chores(self) -> idle.Chores:
        with stopped(START):
            return idle.chores(using="default")

    def test_are_found_by_one_statement(self) -> None:
        assert len(statements(lambda: idle.chores(using="default"))) == 1

    def test_are_none_in_an_empty_outbox(self) -> None:
        assert self.chores() == (0, False, False, False, False)

    def test_the_workers_whose_heartbeat_is_recent_are_counted(self) -> None:
        for age in (0, 14.9, 15, 3600):
            seen_at = START - timedelta(seconds=age)
            WorkerHeartbeat.objects.create(name=f"w{age}", engine="worker", started_at=START, seen_at=seen_at)
        assert self.chores().workers == 2

    def test_an_endpoint_was_activated_lately(self) -> None:
        endpoint = ClientEndpointFactory()
        health = EndpointHealth.objects.filter(pk=endpoint.pk)
        for hours, is_recent in ((1, True), (2, False)):
            health.update(activated_at=START - timedelta(hours=hours))
            assert self.chores().catch_up is is_recent
        health.update(activated_at=START)
        ClientEndpoint.objects.update(is_active=False)
        assert not self.chores().catch_up

    def test_a_pair_is_uncertain(self) -> None:
        ClientEndpointFactory()
        record()
        pair = {"endpoint": ClientEndpoint.objects.get(), "profile": UserProfile.objects.get()}
        Confirmation.objects.create(**pair, sequence=1, confirmed_at=START, digest="")
        assert not self.chores().heal
        Confirmation.objects.update(uncertain_since=START)
        assert self.chores().heal
        ClientEndpoint.objects.update(is_active=False)
        assert not self.chores().heal

    def test_an_isolated_delivery_is_due(self) -> None:
        ClientEndpointFactory()
        record()
        assert not self.chores().isolated
        Delivery.objects.update(stalls=1, last_error_code="lease_lost")
        assert self.chores().isolated
        EndpointHealth.objects.update(rests_until=START + timedelta(seconds=1))
        assert not self.chores().isolated
        EndpointHealth.objects.update(rests_until=START)
        assert self.chores().isolated
        Delivery.objects.update(next_attempt_at=START + timedelta(seconds=1))
        assert not self.chores().isolated


def test_the_questions_do_not_read_the_log() -> None:
    endpoint = ClientEndpointFactory()
    now = db_now("default")
    pushes = Push.objects.bulk_create([Push(event_id=uuid4(), created_at=now) for _ in range(3000)])
    if pushes[0].pk is None:
        pushes = list(Push.objects.all())
    ended = {"endpoint": endpoint, "position": 1, "status": "succeeded", "created_at": now, "ended_at": now}
    Delivery.objects.bulk_create([Delivery(push=push, **ended) for push in pushes])
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE live_push_delivery")
        else:
            cursor.execute("ANALYZE live_push_delivery")
    (looked,) = statements(lambda: idle.look(using="default"))
    assert "live_push_due" in explain(looked)
    assert "live_push_ended" in explain(looked)
    (asked,) = statements(lambda: idle.chores(using="default"))
    assert "live_push_due" in explain(asked)
