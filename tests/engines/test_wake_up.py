"""Hints are sent by a thread of its own: a save waits for no broker, and a broken one is left alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from live_push.engines import wake_up as module
from live_push.engines.wake_up import KNOWN_BAD_SECONDS, Waker


class Broker:
    """Stands for a broker: takes hints, or holds, or fails."""

    def __init__(self) -> None:
        self.hints: list[str] = []
        self.sessions = 0
        self.fault: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.was_reached = threading.Event()

    @contextmanager
    def session(self) -> Iterator[Callable[[str], object]]:
        self.sessions += 1
        yield self._take

    def _take(self, using: str) -> None:
        self.was_reached.set()
        self.may_answer.wait(10)
        if self.fault is not None:
            raise self.fault
        self.hints.append(using)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waker(broker: Broker, clock: Clock) -> Waker:
    return Waker(broker.session, monotonic=clock)


def test_a_hint_names_the_database(waker: Waker, broker: Broker) -> None:
    waker.wake("other")
    assert waker.finish(10)
    assert broker.hints == ["other"]


def test_hints_that_wait_for_the_broker_become_one(waker: Waker, broker: Broker) -> None:
    broker.may_answer.clear()
    waker.wake("default")
    assert broker.was_reached.wait(10)
    for _ in range(100):
        waker.wake("default")
    broker.may_answer.set()
    assert waker.finish(10)
    assert broker.hints == ["default", "default"]


def test_a_busy_process_keeps_its_connection(waker: Waker, broker: Broker) -> None:
    for _ in range(3):
        waker.wake("default")
        assert waker.finish(10)
    assert (len(broker.hints), broker.sessions) == (3, 1)


def test_an_idle_process_gives_its_connection_back(
    waker: Waker, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0)
    for _ in range(2):
        waker.wake("default")
        assert waker.finish(10)
        for thread in threading.enumerate():
            if thread.name == "live_push-waker":
                thread.join(10)
    assert (broker.hints, broker.sessions) == (["default", "default"], 2)


def test_a_broker_that_never_answers_blocks_no_save(waker: Waker, broker: Broker) -> None:
    broker.may_answer.clear()
    waker.wake("default")
    assert broker.was_reached.wait(10)
    waker.wake("default")
    assert not waker.finish(0)
    broker.may_answer.set()
    assert waker.finish(10)


def test_a_broken_broker_is_not_tried_for_a_while(
    waker: Waker, broker: Broker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broker.fault = OSError("amqp://user:hunter2@broker is gone")
    waker.wake("default")
    assert waker.finish(10)
    broker.fault = None
    clock.now += KNOWN_BAD_SECONDS - 1
    waker.wake("default")
    assert waker.finish(10)
    assert (broker.hints, broker.sessions) == ([], 1)
    clock.now += 1
    waker.wake("default")
    assert waker.finish(10)
    assert (broker.hints, broker.sessions) == (["default"], 2)


def test_a_broken_broker_is_logged_once_and_without_its_address(
    waker: Waker, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.fault = OSError("amqp://user:hunter2@broker is gone")
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            waker.wake("default")
            assert waker.finish(10)
    (record,) = caplog.records
    assert "The broker failed (OSError)" in record.getMessage()
    assert "hunter2" not in caplog.text


def test_a_session_that_can_not_even_be_opened_is_a_broken_broker(clock: Clock) -> None:
    @contextmanager
    def session() -> Iterator[Callable[[str], object]]:
        raise ConnectionRefusedError
        yield

    waker = Waker(session, monotonic=clock)
    waker.wake("default")
    assert waker.finish(10)
    assert waker._bad_until == clock.now + KNOWN_BAD_SECONDS


def test_a_forked_process_has_a_thread_of_its_own(
    waker: Waker, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waker.wake("default")
    assert waker.finish(10)
    monkeypatch.setattr(module.os, "getpid", lambda: -1)
    # What a fork leaves behind: a lock that nobody will open.
    with waker._changed:
        waker.wake("default")
    assert waker.finish(10)
    assert broker.sessions == 2


def test_a_forked_process_does_not_wait_at_its_end_for_what_its_parent_sends(
    waker: Waker, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.may_answer.clear()
    waker.wake("default")
    assert broker.was_reached.wait(10)
    with monkeypatch.context() as child:
        child.setattr(module.os, "getpid", lambda: -1)
        assert waker.finish(0)
    broker.may_answer.set()
    assert waker.finish(10)
