"""Which addresses may be connected to: every refused network with its edges, as literal and as answer of a resolver."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.delivery.guard import AddressGuard
from live_push.delivery.no_answer import NoAnswer
from live_push.exceptions import DestinationRefused, EndpointUrlError
from live_push.rules import endpoint_url, networks
from live_push.rules.networks import ALWAYS_REFUSED, REFUSED, parse_networks

GUARD = AddressGuard()
Resolver = Callable[..., None]


def words(text: str) -> list[str]:
    return text.split()


# Public addresses next to the networks, typed in, so that the table is not its own oracle.
JUST_OUTSIDE = words("""
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0
    192.31.195.255 192.31.197.0 192.52.192.255 192.52.194.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
    192.175.47.255 192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0
    223.255.255.255 2000:: 2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9::
    2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003:: 2620:4f:7fff:ffff:ffff:ffff:ffff:ffff 2620:4f:8001::
    3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    8.8.8.8 2606:4700::1111
""")

WRAPPERS = words("""
    ::7f00:1 ::808:808 ::ffff:127.0.0.1 ::ffff:7f00:1 0:0:0:0:0:ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    ::ffff:168.63.129.16 64:ff9b::7f00:1 64:ff9b::169.254.169.254 64:ff9b::808:808 64:ff9b:1::808:808 2002:7f00:1::
    2002:808:808:: 2002:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2606:4700::5efe:10.0.0.1
    2606:4700::200:5efe:8.8.8.8 fe80::5efe:127.0.0.1
""")

NO_ADDRESSES = words("""
    localhost client.example 127.1 0x7f.0.0.1 0177.0.0.1 2130706433 127.0.0.1:80 [::1] fe80::1%eth0 2606:4700::1%1 1.2.3
    1.2.3.4.5 \uff11\uff12\uff17.0.0.1 ::ffff:999.0.0.1 g::1
""")


def edges(text: str) -> list[str]:
    network = ip_network(text)
    return sorted({str(network[0]), str(network[1 if network.num_addresses > 1 else 0]), str(network[-1])})


def check_literal(address: str) -> str:
    """The rule for a URL whose host is the address."""
    host = f"[{address}]" if ":" in address else address
    return endpoint_url.check(f"https://{host}/", allowed_ports=[443], addresses=GUARD)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Scripts what the next lookups find."""

    def script(*addresses: str | tuple[Any, ...]) -> None:
        def found(host: str, port: int, **kwargs: Any) -> list[tuple[Any, ...]]:
            return [answer(address, port) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    def answer(address: str | tuple[Any, ...], port: int) -> tuple[Any, ...]:
        sockaddr = (address, port, 0, 0)[: 4 if ":" in address else 2] if isinstance(address, str) else address
        family = socket.AF_INET6 if len(sockaddr) == 4 else socket.AF_INET
        return (family, socket.SOCK_STREAM, 6, "", sockaddr)

    return script


@pytest.mark.parametrize("address", [edge for network in REFUSED for edge in edges(network)])
def test_every_edge_of_every_refused_network_is_refused(address: str, answers: Resolver) -> None:
    assert not GUARD.permits(address)
    with pytest.raises(EndpointUrlError):
        check_literal(address)
    answers(address)
    with pytest.raises(DestinationRefused):
        GUARD.resolve("client.example", 443, 5)


@pytest.mark.parametrize("address", JUST_OUTSIDE)
def test_an_address_just_outside_is_let_through(address: str, answers: Resolver) -> None:
    assert GUARD.permits(address)
    check_literal(address)
    answers(address)
    assert [found.sockaddr[0] for found in GUARD.resolve("client.example", 443, 5)] == [address]


@pytest.mark.parametrize("address", WRAPPERS)
def test_an_ipv6_address_that_leads_to_an_ipv4_address_is_refused(address: str, answers: Resolver) -> None:
    assert not GUARD.permits(address)
    with pytest.raises(EndpointUrlError):
        check_literal(address)
    answers(address)
    with pytest.raises(DestinationRefused):
        GUARD.resolve("client.example", 443, 5)


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    assert not GUARD.permits(text)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_checked_like_the_one_inside(address: IPv4Address) -> None:
    assert GUARD.permits(f"::ffff:{address}") == GUARD.permits(str(address))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_let_through_that_python_calls_internal(address: IPv4Address | IPv6Address) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    if GUARD.permits(str(address)):
        assert inner.is_global
        assert not any([inner.is_multicast, inner.is_reserved, inner.is_loopback, inner.is_link_local])


@pytest.mark.parametrize("network", REFUSED)
def test_the_table_alone_refuses_what_it_names(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (IPv4Address, IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
        monkeypatch.setattr(kind, "is_multicast", False)
        monkeypatch.setattr(kind, "is_reserved", False)
    assert not any(GUARD.permits(address) for address in edges(network))


def test_every_network_names_its_source() -> None:
    assert all(": " in source for source in [*REFUSED.values(), *ALWAYS_REFUSED.values()])


def test_the_tables_are_those_of_the_changelog() -> None:
    """After a change of the tables, describe it in the changelog, because it may refuse endpoints; then update this."""
    table = "\n".join([*sorted(REFUSED), "always", *sorted(ALWAYS_REFUSED)])
    digest = hashlib.sha256(table.encode()).hexdigest()[:16]
    assert digest == "bb01d9877263fefe"


# Several answers


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1", "8.8.8.8"], id="the-first-is-internal"),
        pytest.param(["8.8.8.8", "127.0.0.1"], id="the-last-is-internal"),
        pytest.param(["8.8.8.8", "2606:4700::1111", "::1"], id="one-of-another-family-is-internal"),
        pytest.param(["8.8.8.8"] * 9 + ["10.0.0.1"], id="one-of-many-is-internal"),
    ],
)
def test_one_internal_answer_refuses_the_name(addresses: list[str], answers: Resolver) -> None:
    answers(*addresses)
    with pytest.raises(DestinationRefused):
        GUARD.resolve("client.example", 443, 5)


def test_the_refusal_names_no_address(answers: Resolver) -> None:
    answers("10.1.2.3")
    with pytest.raises(DestinationRefused) as refusal:
        GUARD.resolve("client.example", 443, 5)
    assert str(refusal.value) == "The destination is not a public address."


def test_public_answers_keep_their_order_and_lose_their_doubles(answers: Resolver) -> None:
    answers("2606:4700::1", "8.8.8.8", "2606:4700::1", "8.8.4.4")
    found = GUARD.resolve("client.example", 8443, 5)
    assert [destination.sockaddr for destination in found] == [
        ("2606:4700::1", 8443, 0, 0),
        ("8.8.8.8", 8443),
        ("8.8.4.4", 8443),
    ]


def test_an_answer_with_a_scope_is_refused(answers: Resolver) -> None:
    answers(("2606:4700::1", 443, 0, 2))
    with pytest.raises(DestinationRefused):
        GUARD.resolve("client.example", 443, 5)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (socket.gaierror(socket.EAI_NONAME, "secret.internal unknown"), "The host name does not exist."),
        (socket.gaierror(socket.EAI_AGAIN, "try 10.0.0.53 again"), "The name lookup failed."),
        (OSError("10.0.0.53 is down"), "The name lookup failed."),
        (UnicodeError("label too long"), "The host name is not a valid name."),
    ],
    ids=["no-such-name", "the-resolver-fails", "the-network-fails", "no-name-at-all"],
)
def test_a_lookup_that_fails_is_no_answer(error: Exception, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NoAnswer) as failure:
        GUARD.resolve("client.example", 443, 5)
    assert (failure.value.code, failure.value.detail) == ("dns_failed", detail)


def test_a_name_without_addresses_is_no_answer(answers: Resolver) -> None:
    answers()
    with pytest.raises(NoAnswer, match="no address"):
        GUARD.resolve("client.example", 443, 5)


# What the operator may change


def guard(allowed: list[str], blocked: list[str] | None = None) -> AddressGuard:
    return AddressGuard(parse_networks(allowed), parse_networks(blocked or []))


@pytest.mark.parametrize(
    ("allowed", "address", "verdict"),
    [
        pytest.param("10.1.0.0/16", "10.1.0.0", True, id="the-first-of-an-allowed-network"),
        pytest.param("10.1.0.0/16", "10.1.255.255", True, id="the-last"),
        pytest.param("10.1.0.0/16", "10.0.255.255", False, id="one-below"),
        pytest.param("10.1.0.0/16", "10.2.0.0", False, id="one-above"),
        pytest.param("10.1.0.0/16", "::ffff:10.1.0.1", True, id="mapped"),
        pytest.param("10.1.0.0/16", "127.0.0.1", False, id="another-network-stays-refused"),
        pytest.param("10.1.0.0/16", "8.8.8.8", True, id="public-ones-stay-allowed"),
        pytest.param("fd00::/8", "fd00::1", True, id="unique-local"),
        pytest.param("::1/128", "::1", True, id="loopback"),
        pytest.param("0.0.0.0/0", "127.0.0.1", True, id="everything"),
    ],
)
def test_an_allowed_network_widens_that_network_only(allowed: str, address: str, verdict: bool) -> None:
    assert guard([allowed]).permits(address) is verdict


@pytest.mark.parametrize("address", [edge for network in ALWAYS_REFUSED for edge in edges(network)])
def test_link_local_and_metadata_addresses_are_refused_even_if_allowed(address: str) -> None:
    assert not guard(["0.0.0.0/0", "::/0"]).permits(address)


@pytest.mark.parametrize(
    "address",
    ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "::a9fe:a9fe"],
)
def test_they_are_refused_in_ipv6_clothes_too(address: str) -> None:
    assert not guard(["0.0.0.0/0", "::/0"]).permits(address)


def test_an_allowed_translator_leads_to_public_addresses() -> None:
    assert guard(["64:ff9b::/96"]).permits("64:ff9b::808:808")


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::100.64.0.1",
        "2002:a00:1::",
        "::10.0.0.1",
        "fd00::5efe:a00:1",
    ],
)
def test_an_allowed_translator_leads_nowhere_inside(address: str) -> None:
    assert not guard(["64:ff9b::/96", "2002::/16", "::/96", "fd00::/8"]).permits(address)


def test_an_allowed_translator_leads_to_allowed_networks() -> None:
    assert guard(["64:ff9b::/96", "10.1.0.0/16"]).permits("64:ff9b::10.1.0.1")


@pytest.mark.parametrize(
    ("blocked", "address", "verdict"),
    [
        pytest.param("8.8.8.0/24", "8.8.8.0", False, id="the-first"),
        pytest.param("8.8.8.0/24", "8.8.8.255", False, id="the-last"),
        pytest.param("8.8.8.0/24", "8.8.7.255", True, id="one-below"),
        pytest.param("8.8.8.0/24", "8.8.9.0", True, id="one-above"),
        pytest.param("8.8.8.0/24", "::ffff:8.8.8.8", False, id="mapped"),
        pytest.param("2606:4700::/32", "2606:4700::1", False, id="ipv6"),
        pytest.param("10.1.0.0/16", "10.1.0.1", False, id="blocked-wins-over-allowed"),
        pytest.param("8.8.8.0/24", "64:ff9b::808:808", False, id="through-an-allowed-translator"),
        pytest.param("::ffff:8.8.8.0/120", "8.8.8.8", False, id="written-as-mapped"),
        pytest.param("::ffff:8.8.8.0/120", "8.8.9.8", True, id="one-above-what-is-written-as-mapped"),
        pytest.param("::/0", "8.8.8.8", True, id="all-of-ipv6-is-not-ipv4"),
    ],
)
def test_a_blocked_network_is_refused_in_addition(blocked: str, address: str, verdict: bool) -> None:
    assert guard(["10.0.0.0/8", "64:ff9b::/96"], [blocked]).permits(address) is verdict


def test_the_table_covers_all_that_is_not_global_unicast() -> None:
    covered = [network for network in map(ip_network, REFUSED) if isinstance(network, IPv6Network)]
    outside = [
        "::",
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "4000::",
        "7fff::",
        "8000::",
        "bfff::",
        "c000::",
        "ffff::",
    ]
    assert all(any(ip_address(address) in network for network in covered) for address in outside)


def test_the_table_and_its_objects_agree() -> None:
    assert set(networks._REFUSED) == {ip_network(text) for text in REFUSED}
    assert any(isinstance(network, IPv4Network) for network in networks._REFUSED)
