"""One worker's work: claim, start, send, settle, over and over."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from django.test import override_settings

from live_push.delivery.fast import FastTransport
from live_push.delivery.request import Request, Transport
from live_push.engines import heartbeat, settling, starting, worker
from live_push.engines import pipeline as module
from live_push.engines.pipeline import Pipeline
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, WorkerHeartbeat
from live_push.models.clock import stopped
from live_push.outbox import draw
from live_push.outbox.outcome import Outcome
from live_push.outbox.settle import Settlement
from live_push.rules import local_clock
from live_push.rules.result import Result
from live_push.testing.https_server import EndpointServer, Hold
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, ScriptedTransport, statements, status

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def pipeline(transport: Transport, threads: int = 4) -> Iterator[Pipeline]:
    made = Pipeline(using="default", name="w", threads=threads, transport=transport, random=lambda: 0.0)
    try:
        yield made
    finally:
        made.close()


class Held:
    """A client that takes requests and answers when it is told to."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.taken = threading.Semaphore(0)

    def __call__(self, request: Request) -> Result:
        self.taken.release()
        assert self.release.wait(30)
        return OK


def test_no_connection_to_the_database_is_held_while_a_client_thinks() -> None:
    """The threads that talk to clients never touch the database."""
    seen: list[list[bool]] = []

    def look(request: Request) -> Result:
        # Connections belong to threads: this one has none that is open.
        seen.append([connection.connection is not None for connection in connections.all(initialized_only=True)])
        return OK

    ClientEndpointFactory()
    UserProfileFactory.create_batch(3)
    with pipeline(ScriptedTransport(look)) as running:
        assert running.run_until_idle() == 3
    assert all(not any(open_ones) for open_ones in seen)


def test_no_more_requests_are_in_flight_than_the_endpoint_allows() -> None:
    ClientEndpointFactory(max_in_flight=2)
    UserProfileFactory.create_batch(10)
    held = Held()
    with pipeline(ScriptedTransport(held), threads=8) as running:
        for _ in range(5):
            running.turn()
        assert running.in_flight == 2
        held.release.set()
        assert running.run_until_idle() == 10


def test_a_transport_that_needs_no_threads_is_given_none() -> None:
    hold = Hold()
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        server.script([hold] * 20)
        ClientEndpointFactory(url=server.url, max_in_flight=20)
        UserProfileFactory.create_batch(30)
        transport = FastTransport()
        with pipeline(transport, threads=28) as running:
            for _ in range(3):
                running.turn()
            server.wait_for(20)
            assert running.in_flight == 20
            assert not any(thread.name.startswith("live_push_") for thread in threading.enumerate())
            hold.release()
            assert running.run_until_idle() == 30
        transport.close()
    assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}


def test_a_client_that_never_answers_leaves_threads_for_the_others() -> None:
    sick = ClientEndpointFactory(max_in_flight=100)
    UserProfileFactory.create_batch(20)
    held = Held()

    def answer(request: Request) -> Result:
        return held(request) if request.url == sick.url else OK

    with pipeline(ScriptedTransport(answer), threads=8) as running:
        for _ in range(5):
            running.turn()
        healthy = ClientEndpointFactory()
        UserProfileFactory.create_batch(5)
        while Delivery.objects.filter(endpoint=healthy, status="succeeded").count() < 5:
            running.turn(polling=True)
            running.something_happened.wait(1)
        assert Delivery.objects.filter(endpoint=sick, status="succeeded").count() == 0
        held.release.set()
        running.run_until_idle()


def test_after_a_failure_nothing_is_sent_until_it_is_settled() -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(9)
    transport = ScriptedTransport(status(500))
    with pipeline(transport, threads=1) as running:
        running.run_until_idle()
    assert len(transport.requests) == 5


def test_slots_are_given_back_at_the_end() -> None:
    ClientEndpointFactory.create_batch(2)
    UserProfileFactory.create_batch(5)
    with pipeline(ScriptedTransport()) as running:
        running.run_until_idle()
    assert list(EndpointHealth.objects.values_list("slots", flat=True)) == [{}, {}]


def test_draining_gives_waiting_deliveries_back_and_finishes_attempts_in_flight() -> None:
    ClientEndpointFactory(max_in_flight=1)
    UserProfileFactory.create_batch(4)
    held = Held()
    with pipeline(ScriptedTransport(held)) as running:
        running.turn()
        assert held.taken.acquire(timeout=30)
        held.release.set()
        running.drain()
    states = sorted(Delivery.objects.values_list("status", "attempts_made"))
    assert states == [("pending", 0)] * 3 + [("succeeded", 1)]


def test_an_endpoint_disabled_after_the_claim_gets_nothing() -> None:
    endpoint = ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    transport = ScriptedTransport()
    with pipeline(transport) as running:
        running._claim(isolated=False)
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)
        running.turn(claiming=False)
        assert running.is_idle
    assert transport.requests == []
    assert set(Delivery.objects.values_list("status", "attempts_made")) == {("pending", 0)}


def test_slots_are_given_back_if_nothing_could_be_started() -> None:
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    with pipeline(ScriptedTransport()) as running:
        running._claim(isolated=False)
        assert EndpointHealth.objects.get().slots != {}
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)
        running.turn(claiming=False)
    assert EndpointHealth.objects.get().slots == {}


def test_outcomes_that_could_not_be_written_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    settle = settling.settle
    failures = iter([OperationalError("the database is gone")])

    def shaky(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return settle(*args, **kwargs)

    monkeypatch.setattr(settling, "settle", shaky)
    transport = ScriptedTransport()
    with pipeline(transport) as running:
        with pytest.raises(OperationalError):
            running.run_until_idle()
        running.run_until_idle()
    assert Delivery.objects.get().status == "succeeded"
    assert len(transport.requests) == 1


def test_an_isolated_delivery_is_sent_although_an_outcome_of_its_endpoint_waits_for_a_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is under way then, so no client wakes the worker."""
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    isolated = Delivery.objects.order_by("pk").last()
    assert isolated is not None
    Delivery.objects.filter(pk=isolated.pk).update(stalls=1, last_error_code="lease_lost")
    write = settling.settle
    held = [True]

    def once_held(outcomes: Sequence[Outcome], **options: Any) -> Settlement:
        return Settlement(postponed=[*outcomes]) if held and held.pop() else write(outcomes, **options)

    monkeypatch.setattr(settling, "settle", once_held)
    # So that the isolated delivery is claimed before the verdict is tried again.
    monkeypatch.setattr(settling, "FIRST_PAUSE_SECONDS", settling.LONGEST_PAUSE_SECONDS)
    rescued = threading.Event()
    with pipeline(ScriptedTransport(status(500), OK)) as running:
        running.turn()
        while not running.is_idle:
            running.turn(claiming=False)
        assert running.settled == 0

        def rescue() -> None:
            rescued.set()
            running.something_happened.set()

        timer = threading.Timer(20, rescue)
        timer.start()
        assert running.deliver_isolated()
        timer.cancel()
    assert not rescued.is_set()
    assert Delivery.objects.get(pk=isolated.pk).status == "succeeded"


def test_what_was_claimed_is_sent_though_the_start_failed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    start = starting.start.start
    failures = iter([OperationalError("the database is gone")])

    def shaky(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return start(*args, **kwargs)

    monkeypatch.setattr(starting.start, "start", shaky)
    with pipeline(ScriptedTransport()) as running:
        with pytest.raises(OperationalError):
            running.run_until_idle()
        running.run_until_idle()
    assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}


def test_a_hundred_deliveries_cost_few_statements_each() -> None:
    ClientEndpointFactory(max_in_flight=100)
    UserProfileFactory.create_batch(100)

    def run() -> None:
        with pipeline(ScriptedTransport(), threads=100) as running:
            running.run_until_idle()

    assert len(statements(run)) < 400


def test_a_sick_client_is_not_asked_about_at_every_turn() -> None:
    """Its places on the wire are taken and nothing waits: to claim again and again would hold up the others."""
    ClientEndpointFactory(max_in_flight=2)
    UserProfileFactory.create_batch(2)
    held, now = Held(), [0.0]
    transport = ScriptedTransport(held)
    made = Pipeline(
        using="default", name="w", threads=8, transport=transport, random=lambda: 0.0, monotonic=lambda: now[0]
    )
    try:
        # The first turn sends two, the second finds that this was all.
        made.turn()
        made.turn()
        assert made.in_flight == 2
        assert [statements(made.turn) for _ in range(5)] == [[]] * 5
        now[0] += module.CLAIM_EVERY_SECONDS
        assert statements(made.turn) != []
    finally:
        held.release.set()
        made.run_until_idle()
        made.close()


def test_workers_leave_each_other_a_part_of_a_short_backlog() -> None:
    ClientEndpointFactory(max_in_flight=4)
    UserProfileFactory.create_batch(40)
    with pipeline(ScriptedTransport(OK)) as first:
        first.workers, first.window = 2, 40
        first._claim(isolated=False)
        assert Delivery.objects.filter(status="sending").count() == 20
        first.drain()


def test_a_worker_whose_settings_are_wrong_spends_no_attempt() -> None:
    # It would fail every push, and give all of them up after eight hours.
    ClientEndpointFactory()
    UserProfileFactory()
    with pipeline(ScriptedTransport()) as running:
        with override_settings(LIVE_PUSH={"ALLOWED_PORTS": "443"}), pytest.raises(ImproperlyConfigured):
            running.run_until_idle()
        assert Delivery.objects.get().attempts_made == 0
        assert running.run_until_idle() == 1


def test_a_slow_worker_settles_its_own_outcomes_before_it_releases_expired_leases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        loop = worker.WorkerLoop(using="default", threads=4)
        loop._turn()
        # The answer is in memory, and the worker stands still.
        while loop.pipeline._outcomes.empty():
            loop.pipeline.something_happened.wait(1)
    with stopped(START + timedelta(seconds=60)):
        loop._next_release = 0
        while not loop.pipeline.is_idle:
            loop._turn()
    assert Delivery.objects.get().status == "succeeded"
    assert list(Attempt.objects.values_list("error_code", flat=True)) == [""]
    loop.stop()
    loop.run()


class TestPlacesOnTheWire:
    """They are leased for as long as attempts take that were started within a second."""

    @pytest.fixture
    def local(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The local clock, in a list."""
        now = [1000.0]
        monkeypatch.setattr(local_clock, "local_now", lambda: now[0])
        return now

    def leased_until(self) -> float:
        (lease,) = EndpointHealth.objects.get().slots.values()
        return round(lease[1] - START.timestamp(), 3)

    def test_are_leased_anew_before_more_is_started(self, local: list[float]) -> None:
        ClientEndpointFactory(max_in_flight=2)
        held = Held()
        with pipeline(ScriptedTransport(held)) as running, stopped(START):
            UserProfileFactory.create_batch(5)
            running.turn()
            assert self.leased_until() == 18
            local[0] += 10
            with stopped(START + timedelta(seconds=10)):
                # Both places are in use: nothing can be started, and nothing needs a longer lease.
                running.turn(claiming=False)
                assert self.leased_until() == 18
                held.release.set()
                running.run_until_idle()
        assert Delivery.objects.filter(status="succeeded").count() == 5

    def test_are_leased_anew_in_time_for_the_start(self, local: list[float]) -> None:
        """Half a second before it would be too late, because between choice and start bodies are drawn."""
        ClientEndpointFactory(max_in_flight=1)
        transport = ScriptedTransport()
        with pipeline(transport) as running, stopped(START):
            UserProfileFactory.create_batch(2)
            running._claim(isolated=False)
            local[0] += 0.6
            with stopped(START + timedelta(seconds=0.6)):
                running.turn(claiming=False)
                assert self.leased_until() == 18.6
                assert running.run_until_idle() == 2
        assert len(transport.requests) == 2

    def test_that_another_worker_took_meanwhile_start_nothing(self, local: list[float]) -> None:
        endpoint = ClientEndpointFactory(max_in_flight=1)
        transport = ScriptedTransport()
        with pipeline(transport) as running, stopped(START):
            UserProfileFactory.create_batch(3)
            running._claim(isolated=False)
            local[0] += 20
            later = START + timedelta(seconds=20)
            with stopped(later):
                EndpointHealth.objects.filter(pk=endpoint.pk).update(slots={"other": [1, later.timestamp() + 10]})
                running.turn(claiming=False)
                assert running.is_idle
        assert transport.requests == []
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("pending", 0)}

    def test_of_an_endpoint_that_was_disabled_meanwhile_are_not_waited_for(self, local: list[float]) -> None:
        """A run would wait for ever for slots that nobody renews."""
        endpoint = ClientEndpointFactory(max_in_flight=1)
        transport = ScriptedTransport()
        with pipeline(transport) as running, stopped(START):
            UserProfileFactory.create_batch(3)
            running._claim(isolated=False)
            local[0] += 0.6
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)
            running.turn(claiming=False)
            assert running.is_idle
        assert transport.requests == []
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("pending", 0)}

    def test_are_held_for_no_attempt_that_was_chosen_long_before_it_was_started(
        self, local: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ClientEndpointFactory()
        draw_bodies = draw.draw_bodies

        def stand_still(*args: object, **kwargs: object) -> list[Delivery]:
            monkeypatch.setattr(draw, "draw_bodies", draw_bodies)
            local[0] += 5
            return draw_bodies(*args, **kwargs)

        monkeypatch.setattr(draw, "draw_bodies", stand_still)
        transport = ScriptedTransport()
        with pipeline(transport) as running, stopped(START):
            UserProfileFactory()
            running.turn()
            assert transport.requests == []
            running.turn(claiming=False)
            assert set(Delivery.objects.values_list("status", "attempts_made")) == {("pending", 0)}
            assert running.run_until_idle() == 1


def test_a_run_leaves_a_heartbeat_while_it_holds_deliveries_for_long() -> None:
    ClientEndpointFactory(max_in_flight=1)
    UserProfileFactory.create_batch(2)
    held, now = Held(), [0.0]
    made = Pipeline(
        using="default",
        name="w",
        threads=2,
        transport=ScriptedTransport(held),
        random=lambda: 0.0,
        monotonic=lambda: now[0],
        engine="celery",
    )
    made.turn()
    made.turn()
    assert not WorkerHeartbeat.objects.exists()
    now[0] += heartbeat.EVERY_SECONDS
    made.turn()
    assert WorkerHeartbeat.objects.values_list("name", "engine").get() == ("w", "celery")
    held.release.set()
    made.run_until_idle()
    made.heartbeat.remove()
    made.close()
    assert not WorkerHeartbeat.objects.exists()
