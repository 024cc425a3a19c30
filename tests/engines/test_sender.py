"""Attempts are begun without waiting for them, and each brings one outcome, also where no thread can be started."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from live_push.delivery.request import Request
from live_push.engines import worker
from live_push.engines.pipeline import Pipeline
from live_push.engines.sender import OutOfThreads
from live_push.engines.worker import WorkerLoop
from live_push.models import Attempt, Delivery, EndpointHealth
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport

pytestmark = pytest.mark.django_db(transaction=True)


class Limit:
    """How many threads the process may still start, as RLIMIT_NPROC or a container's limit has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1_000_000
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if self.left == 0:
                # The words of CPython.
                raise RuntimeError("can't start new thread")
            self.left -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    return Limit(monkeypatch)


@contextmanager
def pipeline(answer: Result | Callable[[Request], Result] = OK) -> Iterator[tuple[Pipeline, ScriptedTransport]]:
    transport = ScriptedTransport(answer)
    made = Pipeline(using="default", name="w", threads=4, transport=transport, random=lambda: 0.0)
    try:
        yield made, transport
    finally:
        made.close()


class Threadless(ScriptedTransport):
    """A transport that would start a thread of its own."""

    def begin(self, request: Request, done: Callable[[Result], None]) -> None:
        thread = threading.Thread(target=lambda: done(self.send(request)))
        thread.start()


def counters() -> list[tuple[str, int, object]]:
    return sorted(Delivery.objects.values_list("status", "attempts_made", "run_started_at"))


def test_where_no_thread_can_be_started_every_start_is_undone(limit: Limit) -> None:
    ClientEndpointFactory(max_in_flight=4)
    UserProfileFactory.create_batch(6)
    limit.left = 0
    with pipeline() as (running, transport):
        with pytest.raises(OutOfThreads, match="Raise the limit"):
            running.run_until_idle()
        assert running.is_idle
        assert counters() == [("pending", 0, None)] * 6
        assert EndpointHealth.objects.get().slots == {}
        assert (transport.requests, Attempt.objects.count()) == ([], 0)
        limit.left = 1_000
        assert running.run_until_idle() == 6
    assert len(transport.requests) == 6


def test_a_transport_that_can_not_start_a_thread_of_its_own_leaks_nothing_either(limit: Limit) -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    transport = Threadless()
    running = Pipeline(using="default", name="w", threads=4, transport=transport, random=lambda: 0.0)
    limit.left = 0
    with pytest.raises(OutOfThreads):
        running.run_until_idle()
    assert counters() == [("pending", 0, None)] * 2
    limit.left = 1_000
    assert running.run_until_idle() == 2
    running.close()


def test_what_the_pool_kept_is_not_sent_later_as_well(limit: Limit) -> None:
    """A pool queues an attempt before it starts a thread for it: a thread that is there already may find it."""
    ClientEndpointFactory(max_in_flight=2)
    UserProfileFactory.create_batch(2)
    release = threading.Event()

    def hold(request: Request) -> Result:
        assert release.wait(30)
        return OK

    limit.left = 1
    with pipeline(hold) as (running, transport):
        with pytest.raises(OutOfThreads):
            running.turn()
        limit.left = 1_000
        # The one that was begun is under way; the start of the other is undone.
        running.turn(claiming=False)
        assert sorted(Delivery.objects.values_list("status", "attempts_made")) == [("pending", 0), ("sending", 1)]
        release.set()
        assert running.run_until_idle() == 2
    assert sorted(request.headers["live-push-attempt"] for request in transport.requests) == ["1", "1"]
    assert len({request.headers["webhook-id"] for request in transport.requests}) == 2


def test_a_worker_says_what_to_do_and_goes_on(
    limit: Limit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "OUT_OF_THREADS_SECONDS", 0)
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    ClientEndpointFactory()
    UserProfileFactory.create_batch(3)
    loop = WorkerLoop(using="default", threads=4)
    limit.left = 0
    assert not loop._run_guarded(loop._turn)
    assert [record.message.partition(".")[0] for record in caplog.records] == [
        "No thread could be started for a request"
    ]
    limit.left = 1_000
    while Delivery.objects.filter(status="succeeded").count() < 3:
        loop.wake()
        assert loop._run_guarded(loop._turn)
    loop.stop()
    loop.run()


@pytest.mark.parametrize("kind", [ScriptedTransport, Threadless])
def test_an_answer_that_cannot_be_kept_still_ends_its_attempt(
    kind: type[ScriptedTransport], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **kwargs: object) -> bytes:
        raise ValueError("A secret stands here.")

    monkeypatch.setattr("live_push.delivery.send.clean_bytes", broken)
    ClientEndpointFactory()
    UserProfileFactory()
    made = Pipeline(using="default", name="w", threads=4, transport=kind(OK), random=lambda: 0.0)
    assert made.run_until_idle() == 1
    made.close()
    assert Delivery.objects.get().status == "succeeded"
    assert Attempt.objects.get().answer is None
    assert "can't be kept (ValueError)" in caplog.text
    assert "A secret stands here." not in caplog.text


def test_housekeeping_that_fails_each_time_does_not_keep_the_worker_from_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    loop = WorkerLoop(using="default", threads=4)

    def broken() -> None:
        raise ValueError("A row that housekeeping can't read.")

    monkeypatch.setattr(loop, "_do_housekeeping", broken)
    with pytest.raises(ValueError, match="housekeeping"):
        loop._turn()
    while not Delivery.objects.filter(status="succeeded").exists():
        loop.wake()
        loop._turn()
    loop.stop()
    loop.run()
