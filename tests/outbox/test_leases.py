"""What a claim becomes: an attempt that starts, a delivery given back, or the remains of a worker that died."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from live_push.models import Attempt, Delivery, EndpointHealth
from live_push.models.clock import stopped
from live_push.outbox import leases
from live_push.outbox.claim import Worker, claim, lone_deliveries_due
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import lost_answer
from tests.support import START, deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(**worker: object) -> list[Delivery]:
    shares = claim(Worker(name="w", **worker), using="default")
    return [delivery for share in shares for delivery in share.deliveries]


def released(dice: float = 0.0) -> int:
    return leases.release_stalled(using="default", dice=lambda: dice)


class TestStarting:
    def test_counts_an_attempt_and_begins_the_run(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            (delivery,) = leases.start(claimed(), using="default")
        stored = Delivery.objects.get()
        for row in (delivery, stored):
            assert (row.attempts_made, row.run_attempts, row.run_started_at, row.dialled_at) == (1, 1, START, START)

    def test_is_refused_where_the_lease_would_not_outlive_the_attempt(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            waiting = claimed()
        with stopped(START + timedelta(seconds=45)):
            assert leases.start(waiting, using="default") == []
        assert Delivery.objects.get().attempts_made == 0

    def test_is_refused_where_the_lease_was_lost(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        waiting = claimed()
        Delivery.objects.filter(pk=waiting[0].pk).update(lease_token="00000000-0000-0000-0000-000000000000")
        assert leases.start(waiting, using="default") == [waiting[1]]

    def test_counts_one_attempt_though_the_answer_of_the_database_was_lost(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        waiting = claimed()
        with pytest.raises(OperationalError), lost_answer("default", number=2):
            leases.start(waiting, using="default")
        assert leases.start(waiting, using="default") == waiting
        stored = Delivery.objects.get()
        for row in (*waiting, stored):
            assert (row.attempts_made, row.run_attempts, row.dialled_at) == (1, 1, stored.dialled_at)

    def test_of_many_costs_one_statement(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(5)
        waiting = claimed()
        with stopped(START):
            assert len(statements(lambda: leases.start(waiting, using="default"))) == 1


def test_what_is_given_back_is_due_at_once_and_made_no_attempt() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    leases.give_back(claimed(), using="default")
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts_made, delivery.claims_made) == ("pending", 0, 1)
    assert len(deliver()) == 1


def test_what_was_dialled_is_not_given_back() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    started = leases.start(claimed(), using="default")
    assert leases.give_back(started, using="default") == 0


def test_places_on_the_wire_are_given_back() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    claimed()
    health = EndpointHealth.objects.get()
    leases.release_slots("w", [health.pk], using="default")
    health.refresh_from_db()
    assert health.slots == {}


class TestAWorkerThatDied:
    def test_before_dialling_leaves_a_delivery_that_is_simply_due(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            claimed()
        with stopped(START + timedelta(seconds=61)):
            assert released() == 1
            assert len(deliver()) == 1
        assert list(Attempt.objects.values_list("error_code", flat=True)) == [""]

    def test_after_dialling_leaves_a_failed_attempt(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            leases.start(claimed(), using="default")
        with stopped(START + timedelta(seconds=61)):
            released()
        attempt = Attempt.objects.get()
        assert (attempt.number, attempt.error_code, attempt.status_code, attempt.duration_ms) == (
            1,
            "lease_lost",
            None,
            None,
        )
        delivery = Delivery.objects.get()
        assert delivery.next_attempt_at == START + timedelta(seconds=71)
        assert delivery.stalls == 1

    def test_and_starts_it_at_last_is_no_worker_that_died(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            claimed()
        release = leases._release

        def overtaken(*args: Any, **kwargs: Any) -> int:
            Delivery.objects.update(dialled_at=START, attempts_made=1, run_attempts=1, run_started_at=START)
            return release(*args, **kwargs)

        monkeypatch.setattr(leases, "_release", overtaken)
        with stopped(START + timedelta(seconds=61)):
            assert released() == 0
        assert Delivery.objects.get().status == "sending"

    def test_keeps_its_lease_while_it_lasts(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            claimed()
        with stopped(START + timedelta(seconds=59)):
            assert released() == 0

    def test_makes_its_delivery_be_claimed_alone(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            leases.start(claimed(), using="default")
        with stopped(START + timedelta(seconds=61)):
            released()
        with stopped(START + timedelta(seconds=80)):
            UserProfileFactory()
            assert lone_deliveries_due(using="default")
            assert [delivery.stalls for delivery in claimed()] == [0]
            assert [delivery.stalls for delivery in claimed(alone=True)] == [1]

    def test_five_times_on_a_lone_delivery_ends_it(self) -> None:
        ClientEndpointFactory()
        at = START
        with stopped(at):
            UserProfileFactory()
        # The first time it went with others: any of them may have been the cause.
        for stall in range(6):
            assert not Delivery.objects.filter(status="failed").exists()
            at += timedelta(hours=1)
            with stopped(at):
                assert leases.start(claimed(alone=stall > 0), using="default")
            at += timedelta(seconds=61)
            with stopped(at):
                released()
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason, delivery.attempts_made) == ("failed", "stalled", 6)
