"""Where a connection goes when a name has several addresses."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from live_push.delivery.watchdog import Deadline
from live_push.testing.certificate_authority import CertificateAuthority, server_context
from live_push.testing.https_server import EndpointServer
from tests import faults

from .lab import EACH_TRANSPORT, Lab, dialled

pytestmark = pytest.mark.allow_hosts(["127.0.0.0/8", "::1"])


@pytest.fixture
def server(lab: Lab) -> EndpointServer:
    return lab.server(names=["client.test"])


def url(server: EndpointServer) -> str:
    return f"https://client.test:{server.port}/"


@EACH_TRANSPORT
def test_a_dead_first_address_gives_way_to_the_next(lab: Lab, server: EndpointServer) -> None:
    lab.dns.answer("client.test", ["127.0.0.9", "127.0.0.1"])
    with dialled() as addresses:
        assert lab.send(url(server)).status_code == 200
    assert [address for address, _ in addresses] == ["127.0.0.9", "127.0.0.1"]


@EACH_TRANSPORT
def test_a_dead_ipv6_address_gives_way_to_ipv4(lab: Lab, server: EndpointServer) -> None:
    lab.dns.answer("client.test", ["::1", "127.0.0.1"])
    assert lab.send(url(server)).status_code == 200


@EACH_TRANSPORT
def test_a_name_that_has_an_ipv6_address_only_is_reached(lab: Lab) -> None:
    server = lab.server(host="::1", names=["client.test"])
    lab.dns.answer("client.test", ["::1"])
    with dialled() as addresses:
        assert lab.send(url(server)).status_code == 200
    assert [address[:2] for address in addresses] == [("::1", server.port)]


@EACH_TRANSPORT
def test_an_ipv6_address_gives_way_to_ipv4_where_the_machine_has_no_ipv6(lab: Lab, server: EndpointServer) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **kwargs: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **kwargs)

    lab.dns.answer("client.test", ["::1", "127.0.0.1"])
    lab.monkeypatch.setattr(socket, "socket", WithoutIpv6)
    assert lab.send(url(server)).status_code == 200
    lab.dns.answer("other.test", ["::1"])
    assert lab.send(url(server).replace("client", "other")).error_code == "connect_failed"


@EACH_TRANSPORT
def test_an_address_that_does_not_answer_gives_way_within_its_own_time(lab: Lab, server: EndpointServer) -> None:
    lab.configure(CONNECT_TIMEOUT_SECONDS=0.1, TOTAL_TIMEOUT_SECONDS=10)
    lab.dns.answer("client.test", ["127.0.0.8", "127.0.0.1"])
    with faults.unreachable("127.0.0.8", server.port):
        assert lab.send(url(server)).status_code == 200


@EACH_TRANSPORT
def test_when_the_first_address_used_up_the_total_time_the_next_is_not_tried(lab: Lab, server: EndpointServer) -> None:
    lab.configure(CONNECT_TIMEOUT_SECONDS=5, TOTAL_TIMEOUT_SECONDS=0.1)
    lab.dns.answer("client.test", ["127.0.0.8", "127.0.0.1"])
    with faults.unreachable("127.0.0.8", server.port), dialled() as addresses:
        assert lab.send(url(server)).error_code == "connect_timeout"
    assert [address for address, _ in addresses] == ["127.0.0.8"]
    assert server.connections == 0


@EACH_TRANSPORT
def test_all_addresses_that_refuse_are_tried(lab: Lab, server: EndpointServer) -> None:
    dead = [f"127.0.0.{number}" for number in range(10, 20)]
    lab.dns.answer("client.test", dead)
    with dialled() as addresses:
        assert lab.send(url(server)).error_code == "connect_refused"
    assert [address for address, _ in addresses] == dead


@EACH_TRANSPORT
@pytest.mark.parametrize(
    ("dead", "silent", "code"),
    [
        pytest.param(0, 2, "", id="two-do-not-answer"),
        pytest.param(4, 2, "", id="two-do-not-answer-and-others-refuse"),
        pytest.param(4, 3, "connect_timeout", id="three-do-not-answer"),
    ],
)
def test_only_addresses_that_do_not_answer_count_against_the_bound(lab: Lab, dead: int, silent: int, code: str) -> None:
    server = lab.server(names=["client.test"])
    lab.configure(CONNECT_TIMEOUT_SECONDS=0.1, TOTAL_TIMEOUT_SECONDS=10)
    refusing = [f"127.0.0.{number}" for number in range(10, 10 + dead)]
    unanswering = [f"127.0.0.{number}" for number in range(20, 20 + silent)]
    lab.dns.answer("client.test", [*refusing, *unanswering, "127.0.0.1"])
    with ExitStack() as stack:
        for address in unanswering:
            stack.enter_context(faults.unreachable(address, server.port))
        result = lab.send(url(server))
    assert (result.error_code, server.connections) == (code, 0 if code else 1)


@EACH_TRANSPORT
def test_a_certificate_at_fault_does_not_lead_to_the_next_address(lab: Lab) -> None:
    # Who answers is the client; another address would only hide the fault.
    server = lab.server()
    lab.dns.answer("other.test", ["127.0.0.1", "127.0.0.2"])
    with dialled() as addresses:
        assert lab.send(f"https://other.test:{server.port}/").error_code == "tls_wrong_name"
    assert [address for address, _ in addresses] == ["127.0.0.1"]


@EACH_TRANSPORT
def test_a_client_that_moves_is_followed_at_the_next_connection(lab: Lab, server: EndpointServer) -> None:
    server.answer(200, b"", {"Connection": "close"})
    other = lab.server(host="127.0.0.4", port=server.port, names=["client.test"])
    lab.dns.answer("client.test", ["127.0.0.1"], ["127.0.0.4"])
    lab.configure(CA_BUNDLE=server.ca_bundle)
    lab.send(url(server))
    lab.send(url(server))
    assert (server.connections, other.connections) == (1, 1)


@EACH_TRANSPORT
def test_a_public_address_is_connected_to_as_it_is(lab: Lab, server: EndpointServer) -> None:
    lab.configure(ALLOWED_PRIVATE_NETWORKS=[])
    lab.dns.answer("client.test", ["93.184.215.14"])
    asked_for: list[Any] = []
    connect = socket.socket.connect

    def rerouted(self: socket.socket, address: Any) -> None:
        asked_for.append(address)
        connect(self, ("127.0.0.1", address[1]))

    lab.monkeypatch.setattr(socket.socket, "connect", rerouted)
    assert lab.send(url(server)).status_code == 200
    assert asked_for == [("93.184.215.14", server.port)]


@EACH_TRANSPORT
def test_the_host_name_is_sent_and_verified_for_any_address(lab: Lab) -> None:
    authority = CertificateAuthority()
    # The address is not in the certificate: whoever wrote it into the URL would have to verify less.
    context = server_context(authority.issue({"client.test"}))
    asked_for: list[str | None] = []
    context.sni_callback = lambda connection, name, context: asked_for.append(name)
    server = lab.server(authority=authority, context=context)
    lab.dns.answer("client.test", ["127.0.0.1"])
    assert lab.send(url(server)).status_code == 200
    assert (asked_for, server.received[0].headers["host"]) == (["client.test"], f"client.test:{server.port}")


@EACH_TRANSPORT
@pytest.mark.parametrize("port", [443, 8443, 65535])
def test_the_port_of_the_url_is_the_one_connected_to(lab: Lab, port: int) -> None:
    lab.configure(ALLOWED_PRIVATE_NETWORKS=["127.0.0.9/32"], ALLOWED_PORTS=None)
    with dialled() as addresses:
        lab.send(f"https://127.0.0.9:{port}/")
    assert addresses == [("127.0.0.9", port)]


def test_no_socket_is_left_open_where_connecting_breaks_off(lab: Lab, server: EndpointServer) -> None:
    made: list[socket.socket] = []

    def interrupted(self: Any, connection: socket.socket) -> None:
        made.append(connection)
        raise KeyboardInterrupt

    lab.monkeypatch.setattr(Deadline, "hold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.send(server.url)
    assert [connection.fileno() for connection in made] == [-1]
