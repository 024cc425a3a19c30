"""One worker's work: claim, start, send, settle, over and over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connections
from django.test import override_settings

from live_push.delivery.aiohttp_transport import AiohttpTransport
from live_push.delivery.request import Request, Transport
from live_push.delivery.result import Result
from live_push.engines import pipeline as module
from live_push.engines.pipeline import Pipeline
from live_push.https_server import EndpointServer, Hold
from live_push.models import ClientEndpoint, Delivery, EndpointHealth
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport, statements, status

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def pipeline(transport: Transport, threads: int = 4) -> Iterator[Pipeline]:
    made = Pipeline(using="default", name="w", threads=threads, transport=transport, dice=lambda: 0.0)
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


def test_no_more_requests_are_under_way_than_the_endpoint_allows() -> None:
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
        transport = AiohttpTransport()
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
            running.turn(looking=True)
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


def test_places_on_the_wire_are_given_back_at_the_end() -> None:
    ClientEndpointFactory.create_batch(2)
    UserProfileFactory.create_batch(5)
    with pipeline(ScriptedTransport()) as running:
        running.run_until_idle()
    assert list(EndpointHealth.objects.values_list("slots", flat=True)) == [{}, {}]


def test_draining_gives_back_what_waits_and_finishes_what_is_under_way() -> None:
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
        running._claim(alone=False)
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)
        running.turn(claiming=False)
        assert running.is_idle
    assert transport.requests == []
    assert set(Delivery.objects.values_list("status", "attempts_made")) == {("pending", 0)}


def test_verdicts_that_could_not_be_written_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    settle = module.settle
    failures = iter([OperationalError("the database is gone")])

    def shaky(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return settle(*args, **kwargs)

    monkeypatch.setattr(module, "settle", shaky)
    transport = ScriptedTransport()
    with pipeline(transport) as running:
        with pytest.raises(OperationalError):
            running.run_until_idle()
        running.run_until_idle()
    assert Delivery.objects.get().status == "succeeded"
    assert len(transport.requests) == 1


def test_what_was_claimed_is_sent_though_the_start_failed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    start = module.leases.start
    failures = iter([OperationalError("the database is gone")])

    def shaky(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return start(*args, **kwargs)

    monkeypatch.setattr(module.leases, "start", shaky)
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
        using="default", name="w", threads=8, transport=transport, dice=lambda: 0.0, monotonic=lambda: now[0]
    )
    try:
        # The first turn sends two, the second finds that this was all.
        made.turn()
        made.turn()
        assert made.in_flight == 2
        assert [statements(made.turn) for _ in range(5)] == [[]] * 5
        now[0] += module.LOOK_SECONDS
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
        first._claim(alone=False)
        assert Delivery.objects.filter(status="sending").count() == 20
        first.drain()
