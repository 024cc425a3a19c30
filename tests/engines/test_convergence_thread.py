"""The convergence is counted beside the deliveries: in a thread, or at the end of a sweep."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connections

from live_push.engines import convergence_thread, worker
from live_push.engines.convergence_thread import RESERVE_SECONDS, ConvergenceThread
from live_push.engines.run import sweep
from live_push.figures import stored_convergence
from live_push.figures.convergence_slices import read_slice
from live_push.figures.stored_convergence import Turn
from live_push.models import Delivery, StoredConvergence
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import ScriptedTransport

pytestmark = pytest.mark.django_db(transaction=True)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "It does not come true."
        time.sleep(0.01)


def complete() -> Any:
    """The last complete count, if there is one."""
    return StoredConvergence.objects.values_list("complete", flat=True).first()


def slow_slices(patch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let each slice wait. The first event says that one waits, the second lets it go on."""
    reading, go_on = threading.Event(), threading.Event()

    def read(**wanted: Any) -> Any:
        reading.set()
        go_on.wait(20)
        return read_slice(**wanted)

    patch.setattr(stored_convergence, "read_slice", read)
    return reading, go_on


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at once, and again soon."""
    monkeypatch.setattr(convergence_thread, "RESERVE_SECONDS", 0.01)
    monkeypatch.setattr(convergence_thread, "AFTER_ERROR_SECONDS", 0.01)


@pytest.fixture
def thread(impatient: None) -> Iterator[ConvergenceThread]:
    made = ConvergenceThread("default")
    yield made
    made.stop()
    assert not made._thread.is_alive()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that closed their connection and left none."""
    names: list[str] = []
    close = ConvergenceThread._close_connection

    def note(self: ConvergenceThread) -> None:
        close(self)
        if connections["default"].connection is None:
            names.append(threading.current_thread().name)

    monkeypatch.setattr(ConvergenceThread, "_close_connection", note)
    return names


def test_it_counts_and_leaves_no_connection(thread: ConvergenceThread, closed: list[str]) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    thread.start()
    wait_for(complete)
    # The next count begins in a minute: until then it needs no connection.
    wait_for(lambda: closed)
    thread.stop()
    assert complete()["profiles"] == 1
    assert set(closed) == {"live_push-convergence"}


def test_it_survives_an_interrupted_connection(
    thread: ConvergenceThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OperationalError("server closed the connection unexpectedly"), OperationalError("connection refused")]

    def read(**wanted: Any) -> Any:
        if failures:
            # The lease of the slice is still held, as by a worker that was killed.
            StoredConvergence.objects.update(next_slice_at="2026-01-01T00:00Z")
            connections["default"].close()
            raise failures.pop()
        return read_slice(**wanted)

    monkeypatch.setattr(stored_convergence, "read_slice", read)
    ClientEndpointFactory()
    with caplog.at_level(logging.ERROR, logger="live_push.engine"):
        thread.start()
        wait_for(complete)
    assert caplog.text.count("The convergence could not be counted. It is tried again in") == 2


def test_it_stops_at_once_in_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = ConvergenceThread("default")
    thread.start()
    began = time.monotonic()
    thread.stop()
    assert time.monotonic() - began < RESERVE_SECONDS / 2
    assert not thread._thread.is_alive()


def test_it_stops_after_the_slice_under_way(thread: ConvergenceThread, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = slow_slices(monkeypatch)
    UserProfileFactory()
    thread.start()
    assert reading.wait(20)
    # A worker that stops does not wait for a statement that hangs.
    monkeypatch.setattr(convergence_thread, "STOPPING_SECONDS", 0.01)
    thread.stop()
    assert thread._thread.is_alive()
    go_on.set()
    monkeypatch.setattr(convergence_thread, "STOPPING_SECONDS", 20)
    thread.stop()
    assert complete()["profiles"] == 1


@pytest.mark.parametrize(
    ("turn", "took", "pause"),
    [
        pytest.param(Turn(counted=True, seconds_until_next=5), 1.0, 19, id="it also pauses for the writing of the row"),
        pytest.param(Turn(counted=True, seconds_until_next=40), 1.0, 40, id="a count is complete"),
        pytest.param(Turn(counted=False, seconds_until_next=3), 1.0, 3 + RESERVE_SECONDS, id="another worker counts"),
    ],
)
def test_it_pauses(turn: Turn, took: float, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [100.0, 100.0 + took]
    monkeypatch.setattr(convergence_thread, "count_next_slice", lambda **_: turn)
    monkeypatch.setattr(convergence_thread, "time", SimpleNamespace(monotonic=lambda: moments.pop(0)))
    thread = ConvergenceThread("default")
    monkeypatch.setattr(thread.session, "set_up", lambda: None)
    assert thread._count() == pause


def test_where_no_thread_can_be_started_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread = ConvergenceThread("default")

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(thread._thread, "start", refuse)
    thread.start()
    thread.stop()
    assert "No thread can be started to count the convergence." in caplog.text


def test_a_worker_delivers_while_a_slice_is_counted_and_stops_its_thread(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    reading, go_on = slow_slices(monkeypatch)
    loop = worker.WorkerLoop(using="default", threads=2)
    running = threading.Thread(target=loop.run)
    running.start()
    try:
        assert reading.wait(20)
        ClientEndpointFactory()
        UserProfileFactory()
        loop.wake()
        wait_for(lambda: Delivery.objects.filter(status="succeeded").exists())
    finally:
        go_on.set()
        loop.stop()
        running.join()
    assert not loop.convergence._thread.is_alive()


def test_a_sweep_counts_after_it_has_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live_push.engines.run.make_transport", ScriptedTransport)
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    assert sweep("default", engine="once") == 1
    assert complete()["endpoints"] == {str(endpoint.pk): [endpoint.version, 1, 0, None, 0]}
