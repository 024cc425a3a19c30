"""Deadlines that cut connections, in time and only those."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from live_push.delivery import watchdog as watchdog_module
from live_push.delivery.watchdog import Deadline, Watchdog, watchdog

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def test_a_connection_that_is_waited_on_is_cut_when_time_is_up(pair: Pair) -> None:
    ours, _ = pair
    started = monotonic()
    with Watchdog().deadline(0.05) as deadline:
        deadline.hold(ours)
        assert ours.recv(1) == b""
    assert monotonic() - started < 5
    assert deadline.expired


def test_the_peer_sees_the_end(pair: Pair) -> None:
    ours, theirs = pair
    theirs.settimeout(10)
    with Watchdog().deadline(0.01) as deadline:
        deadline.hold(ours)
        assert theirs.recv(1) == b""


def test_an_attempt_that_ends_in_time_leaves_its_connection_alone(pair: Pair) -> None:
    ours, theirs = pair
    dog = Watchdog()
    with dog.deadline(0.05) as deadline:
        deadline.hold(ours)
    with dog.deadline(0.1) as later:
        waits_on, _ = socket.socketpair()
        with waits_on, _:
            waits_on.settimeout(10)
            later.hold(waits_on)
            assert waits_on.recv(1) == b""
    # By now the first deadline would have passed too.
    assert not deadline.expired
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_connection_made_too_late_is_cut_at_once(pair: Pair) -> None:
    ours, _ = pair
    deadline = Deadline(60)
    deadline.expire()
    deadline.hold(ours)
    assert ours.recv(1) == b""
    deadline.release()


def test_a_shorter_deadline_wakes_the_dog_that_sleeps_for_a_longer_one(pair: Pair) -> None:
    ours, _ = pair
    dog = Watchdog()
    with dog.deadline(60), dog.deadline(0.05) as short:
        short.hold(ours)
        assert ours.recv(1) == b""
        assert short.expired


def test_deadlines_after_a_pause_are_kept_too() -> None:
    dog = Watchdog()
    for _ in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs, dog.deadline(0.01) as deadline:
            ours.settimeout(10)
            deadline.hold(ours)
            assert ours.recv(1) == b""
        assert not dog._watched


def test_one_thread_watches_over_all(pair: Pair) -> None:
    before = threading.active_count()
    dog = Watchdog()
    for _ in range(50):
        with dog.deadline(60), dog.deadline(30):
            pass
    assert threading.active_count() == before + 1
    assert not dog._watched


def test_the_thread_keeps_no_process_from_exiting() -> None:
    dog = Watchdog()
    with dog.deadline(60):
        assert dog._thread is not None
        assert dog._thread.daemon


def test_holding_another_connection_lets_go_of_the_first(pair: Pair) -> None:
    ours, theirs = pair
    deadline = Deadline(60)
    deadline.hold(ours)
    deadline.hold(theirs)
    assert deadline.holds
    deadline.release()
    assert not deadline.holds


def test_a_peer_that_was_faster_is_no_trouble(pair: Pair) -> None:
    ours, theirs = pair
    deadline = Deadline(60)
    deadline.hold(ours)
    theirs.close()
    ours.close()
    deadline.expire()
    deadline.release()
    assert deadline.expired


def test_what_is_left_never_falls_below_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(watchdog_module, "monotonic", lambda: now)
    deadline = Deadline(15)
    assert deadline.seconds_left == 15
    now += 20
    assert deadline.seconds_left == 0


def test_a_forked_process_has_a_watchdog_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = watchdog()
    assert watchdog() is parent
    monkeypatch.setattr(watchdog_module.os, "getpid", lambda: -1)
    assert watchdog() is not parent


def test_the_dog_is_woken_anew_where_its_thread_could_not_start(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair
    dog = Watchdog()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _out_of_threads)
        with pytest.raises(RuntimeError), dog.deadline(60):
            pass
    with dog.deadline(0.05) as deadline:
        deadline.hold(ours)
        assert ours.recv(1) == b""


def _out_of_threads(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
