"""What a claim becomes: an attempt that starts, a delivery given back, or the remains of a worker that died."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from live_push import api
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    UserProfile,
    WorkerHeartbeat,
)
from live_push.models.clock import db_now, stopped
from live_push.outbox import allowance, give_back, idle, lease_times, release, start, uncertain
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.outbox.due_work import isolated_deliveries_due
from live_push.rules import local_clock
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import lost_answer
from tests.support import START, deliver, multiply_profiles, statements

from .test_claim import explain

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(**worker: object) -> list[ClaimedDelivery]:
    shares = claim(ClaimRequest(name="w", **worker), using="default")
    return [delivery for share in shares for delivery in share.deliveries]


def stalls(delivery: ClaimedDelivery) -> int:
    return Delivery.objects.get(pk=delivery.pk).stalls


def released(random: float = 0.0) -> int:
    return release.release_stalled(using="default", random=lambda: random)


class TestStarting:
    def test_counts_an_attempt_and_begins_the_run(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            (delivery,) = start.start(claimed(), using="default")
        stored = Delivery.objects.get()
        for row in (delivery, stored):
            assert (row.attempts_made, row.run_attempts, row.run_started_at, row.dialled_at) == (1, 1, START, START)

    def test_is_refused_where_the_lease_would_not_outlive_the_attempt(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            waiting = claimed()
        with stopped(START + timedelta(seconds=45)):
            assert start.start(waiting, using="default") == []
        assert Delivery.objects.get().attempts_made == 0

    def test_is_refused_where_the_lease_was_lost(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        waiting = claimed()
        Delivery.objects.filter(pk=waiting[0].pk).update(lease_token="00000000-0000-0000-0000-000000000000")
        assert start.start(waiting, using="default") == [waiting[1]]

    def test_counts_one_attempt_though_the_answer_of_the_database_was_lost(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        waiting = claimed()
        with pytest.raises(OperationalError), lost_answer("default", number=1):
            start.start(waiting, using="default")
        assert start.start(waiting, using="default") == waiting
        stored = Delivery.objects.get()
        for row in (*waiting, stored):
            assert (row.attempts_made, row.run_attempts, row.dialled_at) == (1, 1, stored.dialled_at)

    def test_whose_answer_was_lost_before_the_endpoint_moved_does_not_go_to_the_old_address(self) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory()
        waiting = claimed()
        with pytest.raises(OperationalError), lost_answer("default", number=1):
            start.start(waiting, using="default")
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(url="https://new.example.com/")
        assert start.start(waiting, using="default") == []
        waiting[0].endpoint = ClientEndpoint.objects.get()
        assert start.start(waiting, using="default") == waiting
        assert Delivery.objects.get().attempts_made == 1

    def test_tells_until_when_its_request_must_be_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_clock, "local_now", lambda: 1000.0)
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            (delivery,) = start.start(claimed(), using="default")
        assert delivery.not_after == 1000 + lease_times.WRITE_WITHIN_SECONDS
        # From then on the total timeout is left for the answer.
        assert delivery.leased_until == START + timedelta(seconds=lease_times.WRITE_WITHIN_SECONDS + 15)
        assert Delivery.objects.get().leased_until == delivery.leased_until

    def test_tells_no_later_time_however_slow_the_database_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr(local_clock, "local_now", lambda: now[0])
        ClientEndpointFactory()
        UserProfileFactory()
        waiting = claimed()

        def hold(execute: Any, *args: Any) -> Any:
            now[0] += 14
            answer = execute(*args)
            now[0] += 14
            return answer

        # The database's own clock is stopped, because two statements would read it at two times.
        with stopped(db_now("default")), connection.execute_wrapper(hold):
            (delivery,) = start.start(waiting, using="default")
        assert now[0] == 1000 + 28 * (1 if connection.vendor == "postgresql" else 2)
        assert delivery.not_after == 1000 + lease_times.WRITE_WITHIN_SECONDS

    def test_is_patient_where_it_is_asked_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_clock, "local_now", lambda: 1000.0)
        endpoints = ClientEndpointFactory.create_batch(2)
        with stopped(START):
            UserProfileFactory()
            started = start.start(claimed(), using="default", patient={endpoints[1].pk})
        assert {row.endpoint_id: row.not_after for row in started} == {endpoints[0].pk: 1002, endpoints[1].pk: 1017}
        assert dict(Delivery.objects.values_list("endpoint", "leased_until")) == {
            endpoints[0].pk: START + timedelta(seconds=17),
            endpoints[1].pk: START + timedelta(seconds=32),
        }

    def test_of_many_costs_one_statement(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(5)
        waiting = claimed()
        with stopped(START):
            # Only PostgreSQL returns the updated rows.
            expected = 1 if connection.vendor == "postgresql" else 2
            assert len(statements(lambda: start.start(waiting, using="default"))) == expected


def test_what_is_given_back_is_due_at_once_and_made_no_attempt() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    give_back.give_back(claimed(), using="default")
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts_made, delivery.claims_made) == ("pending", 0, 1)
    assert len(deliver()) == 1


def test_what_was_dialled_is_not_given_back() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    started = start.start(claimed(), using="default")
    assert give_back.give_back(started, using="default") == 0


def test_slots_are_given_back() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    claimed()
    health = EndpointHealth.objects.get()
    allowance.give_back_slots("w", [health.pk], using="default")
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
            start.start(claimed(), using="default")
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
            waiting = claimed()
        real = give_back._change_free

        def overtaken(*args: Any, **kwargs: Any) -> int:
            assert start.start(waiting, using="default") == waiting
            return real(*args, **kwargs)

        monkeypatch.setattr(give_back, "_change_free", overtaken)
        with stopped(START + timedelta(seconds=16)):
            assert released() == 0
        assert Delivery.objects.get().lease_token == waiting[0].lease_token

    def test_and_renews_its_lease_at_last_is_no_worker_that_died(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            started = start.start(claimed(), using="default")
        real = release.lock_free

        def overtaken(*args: Any) -> list[int]:
            give_back.renew(started, using="default")
            return real(*args)

        monkeypatch.setattr(release, "lock_free", overtaken)
        with stopped(START + timedelta(seconds=18)):
            assert released() == 0
        assert Delivery.objects.get().lease_token == started[0].lease_token

    def test_and_started_holds_its_pair_for_seventeen_seconds(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            start.start(claimed(), using="default")
        with stopped(START + timedelta(seconds=17)):
            assert released() == 0
        with stopped(START + timedelta(seconds=17.1)):
            assert released() == 1

    @pytest.mark.parametrize(
        ("seen", "at", "rows"),
        [
            pytest.param(0, 14.9, 0, id="it may have left no heartbeat yet"),
            pytest.param(None, 14.9, 0, id="it may need no heartbeat"),
            pytest.param(0, 15, 1, id="its heartbeat stopped"),
            pytest.param(None, 15, 1, id="it never left a heartbeat"),
            pytest.param(50, 59, 0, id="it lives and waits for a slot"),
            pytest.param(60, 60.1, 1, id="it lives, but its lease is over"),
        ],
    )
    def test_before_it_starts_holds_nothing_beyond_its_heartbeat(
        self, seen: float | None, at: float, rows: int
    ) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            claimed()
        if seen is not None:
            seen_at = START + timedelta(seconds=seen)
            WorkerHeartbeat.objects.create(name="w", engine="worker", started_at=START, seen_at=seen_at)
        with stopped(START + timedelta(seconds=at)):
            assert released() == rows

    def test_before_it_starts_leaves_room_for_the_next_probe(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            EndpointHealth.objects.update(breaker_state="open", failures_in_row=5, rest_seconds=30, rests_until=START)
            claimed()
        with stopped(START + timedelta(seconds=15)):
            released()
            assert len(claimed()) == 1

    def test_makes_its_delivery_be_claimed_in_isolation(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            start.start(claimed(), using="default")
        with stopped(START + timedelta(seconds=61)):
            released()
        with stopped(START + timedelta(seconds=80)):
            UserProfileFactory()
            assert isolated_deliveries_due(using="default")
            assert [stalls(delivery) for delivery in claimed()] == [0]
            assert [stalls(delivery) for delivery in claimed(isolated=True)] == [1]

    def test_five_times_on_an_isolated_delivery_ends_it(self) -> None:
        ClientEndpointFactory()
        at = START
        with stopped(at):
            UserProfileFactory()
        # The first time it went with others: any of them may have been the cause.
        for stall in range(6):
            assert not Delivery.objects.filter(status="failed").exists()
            at += timedelta(hours=1)
            with stopped(at):
                assert start.start(claimed(isolated=stall > 0), using="default")
            at += timedelta(seconds=61)
            with stopped(at):
                released()
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason, delivery.attempts_made) == ("failed", "stalled", 6)


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite knows of an index only how many rows a value has on average."
)
def test_isolated_deliveries_are_found_by_an_index_among_many_that_wait() -> None:
    ClientEndpointFactory.create_batch(3)
    UserProfileFactory()
    multiply_profiles(2000)
    api.push_profiles(UserProfile.objects.all())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE live_push_delivery" if connection.vendor == "mysql" else "ANALYZE")
    (chores,) = statements(lambda: idle.chores(using="default"))
    *_, isolated = statements(lambda: isolated_deliveries_due(using="default"))
    assert "live_push_cause" in explain(chores)
    assert "live_push_cause" in explain(isolated)


def test_what_is_asked_every_few_seconds_uses_an_index() -> None:
    """On tables with rows, after ANALYZE, with several endpoints."""
    ClientEndpointFactory.create_batch(3)
    UserProfileFactory.create_batch(400)
    deliver()
    with connection.cursor() as cursor:
        for model in (Delivery, Confirmation, ClientEndpoint, UserProfile, WorkerHeartbeat):
            table = model._meta.db_table
            cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
    with stopped(START + timedelta(days=400)):
        asked = [*statements(released), *statements(lambda: uncertain.heal(using="default"))]
    unstarted, stalled, unhealed = map(explain, asked)
    assert "live_push_ended" in unstarted
    assert "live_push_ended" in stalled
    assert "uncertain_since" in unhealed
