"""The scripted receiver that we and host projects test with: it keeps its own promises."""

from __future__ import annotations

import ast
import json
import select
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection, RemoteDisconnected
from pathlib import Path
from types import ModuleType

import pytest

from live_push.testing import certificate_authority, https_server
from live_push.testing.certificate_authority import CertificateAuthority
from live_push.testing.https_server import Answer, EndpointServer, Exchange, Hold, Received, Reset

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8", "::1"])


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with EndpointServer() as running:
        yield running


def post(server: EndpointServer, body: bytes = b"{}", path: str = "", **headers: str) -> tuple[int, bytes]:
    """By a client that knows nothing of ours, with Python's own strict verification."""
    request = urllib.request.Request(server.url + path, body, headers, method="POST")  # noqa: S310
    context = ssl.create_default_context(cafile=server.ca_bundle)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_it_answers_200_unless_told_otherwise(server: EndpointServer) -> None:
    assert post(server) == (200, b"")


def test_it_records_what_it_received(server: EndpointServer) -> None:
    post(server, b'{"id": 7}', "push?a=b", **{"X-Api-Key": "k"})
    (received,) = server.received
    assert (received.number, received.connection) == (1, 1)
    assert (received.method, received.path, received.body) == ("POST", "/push?a=b", b'{"id": 7}')
    assert received.headers["x-api-key"] == "k"
    assert received.json() == {"id": 7}


def test_the_default_answer_can_be_changed(server: EndpointServer) -> None:
    server.answer(201, b"made", {"X-Made": "yes"})
    assert post(server) == (201, b"made")
    assert post(server) == (201, b"made")


def test_the_script_comes_first_and_then_the_default(server: EndpointServer) -> None:
    server.script([503, Answer(202, b"second")])
    server.script([404])
    assert [post(server)[0] for _ in range(4)] == [503, 202, 404, 200]


def test_an_answer_can_be_computed_from_the_request(server: EndpointServer) -> None:
    def number_them(exchange: Exchange) -> None:
        answer = {"third_party_id": f"T-{exchange.received.json()['id']}"}
        exchange.respond(200, json.dumps(answer).encode())

    server.behave(number_them)
    assert post(server, b'{"id": 7}') == (200, b'{"third_party_id": "T-7"}')


def test_a_held_answer_waits_until_it_is_released(server: EndpointServer) -> None:
    hold = Hold(then=Answer(202))
    server.script([hold])
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(post, server)
        server.wait_for(1)
        assert not waiting.done()
        hold.release()
        assert waiting.result(10)[0] == 202


def test_a_reset_looks_like_one(server: EndpointServer) -> None:
    server.script([Reset()])
    with pytest.raises((ConnectionResetError, RemoteDisconnected, urllib.error.URLError)):
        post(server)
    assert len(server.received) == 1


def test_a_connection_is_kept_and_numbered(server: EndpointServer) -> None:
    context = ssl.create_default_context(cafile=server.ca_bundle)
    for _ in range(2):
        connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
        for _ in range(2):
            connection.request("POST", "/", b"{}")
            connection.getresponse().read()
        connection.close()
    assert [received.connection for received in server.received] == [1, 1, 2, 2]
    assert server.connections == 2


def test_waiting_ends_when_enough_has_come(server: EndpointServer) -> None:
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(post, server)
        received = server.wait_for(4)
    assert [one.number for one in received] == [1, 2, 3, 4]


def test_waiting_in_vain_says_how_many_came(server: EndpointServer) -> None:
    post(server)
    with pytest.raises(TimeoutError, match=r"1 requests came within 0\.01 s, not 2"):
        server.wait_for(2, timeout=0.01)


def test_it_can_forget(server: EndpointServer) -> None:
    post(server)
    server.clear()
    assert server.received == []
    post(server)
    assert server.received[0].number == 1


def test_it_is_trusted_through_its_bundle_only(server: EndpointServer) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(server.url, b"", timeout=10, context=ssl.create_default_context())  # noqa: S310
    assert server.received == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_its_certificate_is_for_this_machine(server: EndpointServer, name: str) -> None:
    context = ssl.create_default_context(cafile=server.ca_bundle)
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}


def test_it_listens_on_ipv6_where_asked() -> None:
    with EndpointServer(host="::1") as server:
        assert server.url == f"https://[::1]:{server.port}/"
        assert post(server)[0] == 200


def test_an_authority_can_be_shared() -> None:
    authority = CertificateAuthority()
    with EndpointServer(authority=authority) as one, EndpointServer(authority=authority) as other:
        other.ca_bundle = one.ca_bundle
        assert post(other)[0] == 200


def test_its_settings_let_pushes_come_here(server: EndpointServer) -> None:
    assert server.settings == {
        "CA_BUNDLE": server.ca_bundle,
        "ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8", "::1/128"],
        "ALLOWED_PORTS": None,
    }


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"\r\n\r\n", b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n", b"POST / HTTP/1.1\r\n"],
)
def test_nonsense_ends_that_connection_and_no_other(server: EndpointServer, nonsense: bytes) -> None:
    context = ssl.create_default_context(cafile=server.ca_bundle)
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(nonsense)
    assert post(server)[0] == 200


def test_a_client_without_encryption_is_hung_up_on(server: EndpointServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
        plain.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert select.select([plain], [], [], 10)[0]
    assert post(server)[0] == 200


def test_stopping_hangs_up_on_everybody_and_leaves_nothing_behind() -> None:
    before = threading.active_count()
    server = EndpointServer().start()
    server.behave(Hold())
    context = ssl.create_default_context(cafile=server.ca_bundle)
    silent = socket.create_connection(("127.0.0.1", server.port), 10)
    waiting = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
    waiting.request("POST", "/", b"{}")
    server.wait_for(1)
    server.stop()
    silent.close()
    waiting.close()
    assert threading.active_count() == before
    assert not Path(server.ca_bundle).exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 10)


def test_what_it_recorded_can_be_read_after_it_stopped() -> None:
    with EndpointServer() as server:
        post(server)
    assert [type(received) for received in server.received] == [Received]


@pytest.mark.parametrize("module", [https_server, certificate_authority], ids=lambda module: module.__name__)
def test_it_needs_nothing_but_the_standard_library_cryptography_and_us(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__ or "").read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0}
    assert {name.partition(".")[0] for name in plain | named} <= {*sys.stdlib_module_names, "cryptography"}
