"""What is particular to the transport on ``requests``: its seams, its connections in a pool, its double in tests."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Any

import pytest
import requests
import responses

from live_push.delivery import no_answer, transport
from live_push.delivery.transport import (
    MOST_AGE_SECONDS,
    MOST_IDLE_SECONDS,
    RECORD_BYTES,
    RequestsTransport,
    missing_seams,
)
from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import Answer, Exchange, Hold
from tests.faults import NAMES, Listening, sequence

from .lab import Lab, OpenFirst
from .oracles import a_new_connection_is_dialled_where_many_are_stale

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8", "::1"])

BODY = '{"firstName": "Zoë", "points": 9007199254740993}'.encode()


def test_after_a_burst_the_connections_that_are_no_longer_used_are_closed(lab: Lab) -> None:
    server = lab.server()
    now = 1000.0
    lab.monkeypatch.setattr(transport, "monotonic", lambda: now)
    hold = Hold()
    server.script([hold] * 5)
    with ThreadPoolExecutor(5) as threads:
        burst = [threads.submit(lab.send, server.url) for _ in range(5)]
        server.wait_for(5)
        hold.release()
        assert all(one.result(10).status_code == 200 for one in burst)
    assert [connection.sock is not None for connection in lab.idle_connections()] == [True] * 5
    now += MOST_IDLE_SECONDS - 1
    lab.send(server.url)
    now += 2
    lab.send(server.url)
    assert [connection.sock is not None for connection in lab.idle_connections()] == [False] * 4 + [True]
    assert server.connections == 5


def test_a_connection_that_was_closed_while_idle_costs_no_attempt(lab: Lab) -> None:
    server = lab.server()
    server.script([sequence(Answer(), Exchange.close)])
    assert lab.send(server.url).status_code == 200
    (idle,) = lab.idle_connections()
    assert select.select([idle.sock], [], [], 10)[0]
    assert lab.send(server.url).status_code == 200
    assert [received.connection for received in server.received] == [1, 2]


def test_a_stale_connection_is_replaced_by_a_new_one_not_by_another_that_was_idle(lab: Lab) -> None:
    lab.monkeypatch.setattr(transport.GuardedPool, "QueueCls", OpenFirst)
    a_new_connection_is_dialled_where_many_are_stale(lab)


def test_a_large_request_compares_the_deadline_before_each_piece(lab: Lab) -> None:
    authority = CertificateAuthority()
    peer = Listening(server_context(authority.issue(NAMES)))
    lab.server(authority=authority)
    # Seen before the lookup, the dial and two writes; then the thread stands still for long.
    clock = chain([0.0] * 4, repeat(100.0))
    lab.monkeypatch.setattr(no_answer, "local_now", lambda: next(clock))
    result = lab.send(lab.tcp(peer).url, b"x" * 100_000, not_after=1.0)
    assert (result.error_code, result.request_written) == ("too_late", False)
    assert len(peer.wait()) == 2 * RECORD_BYTES


def test_headers_and_body_go_out_in_one_write(lab: Lab) -> None:
    authority = CertificateAuthority()
    peer = Listening(server_context(authority.issue(NAMES)))
    lab.server(authority=authority)
    clock = chain([0.0] * 3, repeat(100.0))
    lab.monkeypatch.setattr(no_answer, "local_now", lambda: next(clock))
    lab.configure(TOTAL_TIMEOUT_SECONDS=0.3)
    result = lab.send(lab.tcp(peer).url, BODY, not_after=1.0)
    assert (result.error_code, result.request_written) == ("timeout", True)
    assert peer.wait().endswith(BODY)


@pytest.mark.parametrize(
    ("seconds", "connections"),
    [
        pytest.param(MOST_IDLE_SECONDS - 0.5, 1, id="idle-for-a-moment"),
        pytest.param(MOST_IDLE_SECONDS + 0.5, 2, id="idle-for-so-long-that-the-server-may-just-hang-up"),
    ],
)
def test_a_connection_is_not_used_after_it_was_idle_for_long(lab: Lab, seconds: float, connections: int) -> None:
    server = lab.server()
    now = 1000.0
    lab.monkeypatch.setattr(transport, "monotonic", lambda: now)
    lab.send(server.url)
    now += seconds
    lab.send(server.url)
    assert server.connections == connections


def test_a_busy_connection_is_made_anew_in_the_end(lab: Lab) -> None:
    server = lab.server()
    now = 1000.0
    lab.monkeypatch.setattr(transport, "monotonic", lambda: now)
    while now < 1000 + MOST_AGE_SECONDS:
        lab.send(server.url)
        now += MOST_IDLE_SECONDS - 0.5
    assert server.connections == 1
    lab.send(server.url)
    assert server.connections == 2


def test_close_lets_go_of_connections_and_the_transport_stays_usable(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    (idle,) = lab.idle_connections()
    lab.transport.close()
    assert idle.sock is None
    assert lab.send(server.url).status_code == 200
    assert server.connections == 2


def test_a_forked_process_shares_no_connection(lab: Lab) -> None:
    server = lab.server()
    lab.send(server.url)
    lab.monkeypatch.setattr(transport.os, "getpid", lambda: -1)
    assert lab.send(server.url).status_code == 200
    assert server.connections == 2


# The seams


def test_the_installed_libraries_have_all_the_seams() -> None:
    assert missing_seams() == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("urllib3.connection.HTTPConnection", "_new_conn"),
        ("urllib3.connectionpool.HTTPSConnectionPool", "ConnectionCls"),
        ("requests.adapters.HTTPAdapter", "cert_verify"),
    ],
)
def test_a_seam_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch, owner: str, name: str) -> None:
    monkeypatch.delattr(f"{owner}.{name}")
    if name == "ConnectionCls":
        monkeypatch.delattr(f"urllib3.connectionpool.HTTPConnectionPool.{name}")
    assert [seam.rpartition(".")[2] for seam in missing_seams()] == [name]


def test_every_new_connection_passes_our_seam(lab: Lab) -> None:
    server = lab.server()
    made: list[socket.socket] = []
    original = transport.GuardedConnection._new_conn

    def counted(self: Any) -> socket.socket:
        made.append(original(self))
        return made[-1]

    lab.monkeypatch.setattr(transport.GuardedConnection, "_new_conn", counted)
    lab.send(server.url)
    assert len(made) == server.connections == 1


def test_there_is_no_way_to_speak_plain_http(lab: Lab) -> None:
    lab.server()
    lab.send("https://127.0.0.1:1/")
    assert set(lab.adapter.poolmanager.pool_classes_by_scheme) == {"https"}


def test_the_table_of_urllib3_itself_is_left_alone(lab: Lab) -> None:
    from urllib3 import connectionpool, poolmanager

    lab.server()
    lab.send("https://127.0.0.1:1/")
    assert poolmanager.pool_classes_by_scheme["https"] is connectionpool.HTTPSConnectionPool


def test_a_proxy_is_refused_however_it_comes_in(lab: Lab) -> None:
    proxy = lab.tcp()
    server = lab.server()
    original = transport.GuardedAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        return original(self, request, proxies={"https": f"http://127.0.0.1:{proxy.port}"}, **options)

    lab.monkeypatch.setattr(transport.GuardedAdapter, "send", send)
    assert lab.send(server.url).error_code == "address_refused"
    assert (proxy.connections, server.connections) == (0, 0)


# Test doubles of host projects


@pytest.fixture
def double() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def test_a_test_double_for_requests_takes_the_place_of_the_client(lab: Lab, double: responses.RequestsMock) -> None:
    double.post("https://client.example/push", json={"third_party_id": "T-1"}, status=201, headers={"Retry-After": "3"})
    result = lab.send("https://client.example/push", BODY)
    assert (result.status_code, result.body, result.body_complete) == (201, b'{"third_party_id": "T-1"}', True)
    assert result.retry_after == "3"
    assert double.calls[0].request.body == BODY


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (requests.ConnectionError("no"), "connect_failed"),
        (requests.ReadTimeout("no"), "timeout"),
        (requests.ConnectTimeout("no"), "timeout"),
    ],
    ids=["connection-error", "read-timeout", "connect-timeout"],
)
def test_its_errors_are_attempts_that_failed(
    lab: Lab, double: responses.RequestsMock, error: Exception, code: str
) -> None:
    double.post("https://client.example/push", body=error)
    assert lab.send("https://client.example/push").error_code == code


def test_a_transport_that_was_never_used_closes(lab: Lab) -> None:
    RequestsTransport().close()
