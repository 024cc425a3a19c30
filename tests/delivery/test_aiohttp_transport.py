"""What is particular to the transport on ``aiohttp``: one thread, its connections, its strictness, its seams."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

import pytest

from live_push.delivery import aiohttp_connection, aiohttp_transport
from live_push.delivery.aiohttp_transport import AiohttpTransport, missing_seams
from live_push.delivery.conditions import MOST_AGE_SECONDS, MOST_IDLE_SECONDS
from live_push.delivery.request import Request, ThreadlessTransport
from live_push.delivery.result import Result
from live_push.delivery.transport import RequestsTransport
from live_push.https_server import Answer, Exchange, Hold
from tests.faults import sequence, silence

from .lab import Lab

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.0/8", "::1"]),
    pytest.mark.parametrize("lab", ["aiohttp"], indirect=True),
]


def begin(lab: Lab, url: str, number: int) -> SimpleQueue[Result]:
    """Begin so many attempts at once; their results, as they come."""
    results: SimpleQueue[Result] = SimpleQueue()
    for _ in range(number):
        lab.transport.begin(Request(url, {}, b"{}"), results.put)
    return results


def in_the_loop(lab: Lab, look: Any) -> Any:
    """What a function returns in the thread of the event loop."""
    told: SimpleQueue[Any] = SimpleQueue()
    lab.transport._client._loop.call_soon_threadsafe(lambda: told.put(look()))
    return told.get(timeout=10)


def connector(lab: Lab) -> Any:
    (session,) = lab.transport._client._sessions.values()
    return session.connector


# Many at once


def test_it_needs_no_thread_for_each_attempt(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.script([hold] * 50)
    begin_with = threading.active_count()
    results = begin(lab, server.url, 50)
    server.wait_for(50)
    # Its own, and those of the server for its connections.
    assert threading.active_count() - begin_with - 50 <= 1
    hold.release()
    assert {results.get(timeout=10).status_code for _ in range(50)} == {200}


def test_a_pipeline_can_tell_it_from_one_that_needs_threads(lab: Lab) -> None:
    assert isinstance(lab.transport, ThreadlessTransport)
    assert not isinstance(RequestsTransport(), ThreadlessTransport)


def test_what_keeps_an_attempt_from_beginning_is_told_like_its_result(lab: Lab) -> None:
    results = begin(lab, "http://127.0.0.1/", 1)
    assert results.get(timeout=10).error_code == "url_refused"


def test_a_large_body_arrives(lab: Lab) -> None:
    server = lab.server()
    body = b"x" * (aiohttp_transport.LARGE_BODY_BYTES + 1)
    assert lab.send(server.url, body).status_code == 200
    assert server.received[0].body == body
    assert server.received[0].headers["content-length"] == str(len(body))


# Connections


def test_a_connection_that_was_closed_while_idle_costs_no_attempt(lab: Lab) -> None:
    server = lab.server()
    server.script([sequence(Answer(), Exchange.close)])
    assert lab.send(server.url).status_code == 200
    while in_the_loop(lab, lambda: any(handler.is_connected() for handler, _ in _idle(lab))):
        pass
    assert lab.send(server.url).status_code == 200
    assert [received.connection for received in server.received] == [1, 2]


def _idle(lab: Lab) -> list[Any]:
    return [entry for entries in connector(lab)._conns.values() for entry in entries]


@pytest.mark.parametrize(
    ("seconds", "connections"),
    [
        pytest.param(MOST_IDLE_SECONDS - 0.5, 1, id="idle-for-a-moment"),
        pytest.param(MOST_IDLE_SECONDS + 0.5, 2, id="idle-for-so-long-that-the-server-may-just-hang-up"),
    ],
)
def test_a_connection_is_not_used_after_it_was_idle_for_long(lab: Lab, seconds: float, connections: int) -> None:
    server = lab.server()
    lab.send(server.url)

    def age() -> None:
        idle = connector(lab)._conns
        for key, entries in idle.items():
            idle[key] = type(entries)((handler, since - seconds) for handler, since in entries)

    in_the_loop(lab, age)
    lab.send(server.url)
    assert server.connections == connections


def test_a_busy_connection_is_made_anew_in_the_end(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    lab.send(server.url)
    assert server.connections == 1
    ((handler, _since),) = _idle(lab)
    handler._made_at -= MOST_AGE_SECONDS
    lab.send(server.url)
    assert server.connections == 2


def test_close_lets_go_of_connections_and_the_transport_stays_usable(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    ((handler, _since),) = _idle(lab)
    client = lab.transport._client
    lab.transport.close()
    assert handler.transport is None
    assert not client._thread.is_alive()
    assert lab.send(server.url).status_code == 200
    assert server.connections == 2


def test_what_is_under_way_when_it_is_closed_goes_on(lab: Lab) -> None:
    server = lab.server()
    hold = Hold()
    server.script([hold])
    results = begin(lab, server.url, 1)
    server.wait_for(1)
    lab.monkeypatch.setattr(aiohttp_transport, "CLOSING_SECONDS", 0)
    client = lab.transport._client
    lab.transport.close()
    hold.release()
    assert results.get(timeout=10).status_code == 200
    client._thread.join(10)
    assert not client._thread.is_alive()


def test_a_forked_process_shares_no_connection(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    before = lab.transport._client
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp_transport.os, "getpid", lambda: -1)
        assert lab.send(server.url).status_code == 200
        assert server.connections == 2
        lab.transport.close()
    before.retire()


# What it is stricter in


def test_a_header_beyond_ascii_is_refused_with_a_sentence(lab: Lab) -> None:
    server = lab.server()
    result = lab.send(server.url, headers={"x-shop": "Zoë"})
    assert (result.status_code, result.error_code) == (None, "misconfigured")
    assert result.detail == "An extra header has letters beyond ASCII, which this transport can't send."
    assert server.received == []


# The seams


def test_the_installed_library_has_all_the_seams(lab: Lab) -> None:
    assert missing_seams() == []


def test_every_new_connection_passes_our_seam(lab: Lab) -> None:
    server = lab.server()
    made: list[str] = []
    original = aiohttp_connection.GuardedConnector._create_connection

    async def counted(self: Any, request: Any, *more: Any) -> Any:
        made.append(request.host)
        return await original(self, request, *more)

    lab.monkeypatch.setattr(aiohttp_connection.GuardedConnector, "_create_connection", counted)
    lab.send(server.url)
    assert len(made) == server.connections == 1


def test_an_error_in_the_loop_is_told_by_its_kind_alone(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    server = lab.server()
    server.script([silence])
    lab.configure(TOTAL_TIMEOUT_SECONDS=0.1)

    def fail() -> None:
        raise LookupError("hunter2")

    lab.send(server.url)
    lab.transport._client._loop.call_soon_threadsafe(fail)
    in_the_loop(lab, lambda: None)
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_transport_that_was_never_used_closes(lab: Lab) -> None:
    AiohttpTransport().close()
