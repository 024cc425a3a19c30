"""An event that also waits for a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from live_push.engines.selectable_event import SelectableEvent


@pytest.fixture
def event() -> Iterator[SelectableEvent]:
    made = SelectableEvent()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def test_data_ends_the_wait(event: SelectableEvent, ends: Ends) -> None:
    ends[1].send(b"!")
    assert event.wait_or_read(ends[0].fileno(), 30)
    assert not event.is_set()


def test_a_closed_connection_ends_the_wait(event: SelectableEvent, ends: Ends) -> None:
    ends[1].close()
    assert event.wait_or_read(ends[0].fileno(), 30)


def test_setting_the_event_ends_the_wait_of_another_thread(event: SelectableEvent, ends: Ends) -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(event.wait_or_read(ends[0].fileno(), 30)))
    thread.start()
    event.set()
    thread.join(30)
    assert found == [False]
    assert event.is_set()


def test_a_set_event_is_not_waited_for(event: SelectableEvent, ends: Ends) -> None:
    event.set()
    assert not event.wait_or_read(ends[0].fileno(), 30)


def test_an_event_that_was_set_before_does_not_end_the_next_wait(event: SelectableEvent, ends: Ends) -> None:
    event.wait_or_read(ends[0].fileno(), 0)
    event._is_selecting = True
    event.set()
    assert not event.wait_or_read(ends[0].fileno(), 30)
    event.clear()
    ends[1].send(b"!")
    assert event.wait_or_read(ends[0].fileno(), 30)


def test_nothing_happens_until_the_time_is_over(event: SelectableEvent, ends: Ends) -> None:
    assert not event.wait_or_read(ends[0].fileno(), 0)


def test_a_closed_event_is_an_event_still(event: SelectableEvent, ends: Ends) -> None:
    event.wait_or_read(ends[0].fileno(), 0)
    event.close()
    event.set()
    assert event.wait(30)
