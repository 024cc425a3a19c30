"""Which addresses are public: the table of all that are not, each with its source.

Pure. Python's ``is_global`` is a second wall only: it differs between builds, and it holds Azure's WireServer,
multicast, and internal addresses translated by NAT64 for global. Tests compare the table with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

VERSION: Final = 1
"""Of both tables: higher by one with each change, which the changelog tells: an endpoint may be refused since."""

# The IANA registries of special-purpose addresses, also where they call a block globally reachable: nobody serves
# an API from it. IPv4-mapped IPv6 is missing because the address inside is judged instead.
REFUSED: Final = {
    "0.0.0.0/8": "this network: RFC 791, section 3.2",
    "10.0.0.0/8": "private use: RFC 1918",
    "100.64.0.0/10": "shared by carriers: RFC 6598",
    "127.0.0.0/8": "loopback: RFC 1122, section 3.2.1.3",
    "168.63.129.16/32": "Azure's WireServer and DNS, internal although globally assigned: Azure's documentation",
    "169.254.0.0/16": "link-local, most clouds' metadata: RFC 3927",
    "172.16.0.0/12": "private use: RFC 1918",
    "192.0.0.0/24": "IETF protocol assignments: RFC 6890, section 2.1",
    "192.0.2.0/24": "documentation: RFC 5737",
    "192.31.196.0/24": "AS112: RFC 7535",
    "192.52.193.0/24": "AMT relays: RFC 7450",
    "192.88.99.0/24": "6to4 relays, deprecated: RFC 7526",
    "192.168.0.0/16": "private use: RFC 1918",
    "192.175.48.0/24": "AS112, direct delegation: RFC 7534",
    "198.18.0.0/15": "benchmarks: RFC 2544",
    "198.51.100.0/24": "documentation: RFC 5737",
    "203.0.113.0/24": "documentation: RFC 5737",
    "224.0.0.0/4": "multicast: RFC 5771",
    "240.0.0.0/4": "reserved, broadcast included: RFC 1112, section 4, and RFC 919, section 7",
    "::/3": "below global unicast: RFC 4291, section 2.4",
    "::/96": "IPv4-compatible, loopback and unspecified included: RFC 4291, section 2.5",
    "64:ff9b::/96": "NAT64: RFC 6052",
    "64:ff9b:1::/48": "NAT64, local use: RFC 8215",
    "100::/64": "discard: RFC 6666",
    "100:0:0:1::/64": "dummy prefix: RFC 9780",
    "2001::/23": "IETF protocol assignments, Teredo, AMT, AS112, ORCHID included: RFC 2928",
    "2001:db8::/32": "documentation: RFC 3849",
    "2002::/16": "6to4: RFC 3056",
    "2620:4f:8000::/48": "AS112, direct delegation: RFC 7534",
    "3fff::/20": "documentation: RFC 9637",
    "4000::/2": "above global unicast: RFC 4291, section 2.4",
    "5f00::/16": "segment routing: RFC 9602",
    "8000::/1": "above global unicast: RFC 4291, section 2.4",
    "fc00::/7": "unique local: RFC 4193",
    "fe80::/10": "link-local: RFC 4291, section 2.5.6",
    "fec0::/10": "site-local, deprecated: RFC 3879",
    "ff00::/8": "multicast: RFC 4291, section 2.7",
}

# Refused even inside a network that the operator allows: who reaches them gets the credentials of our own machines.
ALWAYS_REFUSED: Final = {
    "100.100.100.200/32": "Alibaba Cloud's metadata, inside RFC 6598: Alibaba Cloud's documentation",
    "168.63.129.16/32": "Azure's WireServer: Azure's documentation",
    "169.254.0.0/16": "link-local, most clouds' metadata: RFC 3927",
    "192.0.0.192/32": "Oracle Cloud's metadata, inside RFC 6890: Oracle's documentation",
    "fd00:ec2::254/128": "Amazon's metadata, inside RFC 4193: Amazon's documentation",
    "fd00:42::42/128": "Scaleway's metadata, inside RFC 4193: Scaleway's documentation",
    "fd20:ce::254/128": "Google Cloud's metadata, inside RFC 4193: Google's documentation",
    "fe80::/10": "link-local: RFC 4291, section 2.5.6",
}


def parsed(networks: Iterable[str]) -> tuple[Network, ...]:
    """The networks, given as CIDR texts, as objects; of IPv4-mapped ones those inside, because these are judged."""
    return tuple(_unmapped(ip_network(network)) for network in networks)


def _unmapped(network: Network) -> Network:
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if inner is None or network.prefixlen < 96 else IPv4Network((inner, network.prefixlen - 96))


_REFUSED: Final = parsed(REFUSED)
_ALWAYS_REFUSED: Final = parsed(ALWAYS_REFUSED)
_NAT64_AND_COMPATIBLE: Final = parsed(["::/96", "64:ff9b::/96", "64:ff9b:1::/48"])
# RFC 5214, section 6.1: the interface identifier 0:5efe or 200:5efe, then the IPv4 address, in any prefix.
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address."""
    return any(address in network for network in networks)


def read(address: str) -> Address | None:
    """The address to judge: of an IPv4-mapped one that inside (RFC 4291, section 2.5.5.2).

    ``None`` for what is no address, and for one with a zone (RFC 4007), which only means something on this machine.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    return None if found.scope_id else found.ipv4_mapped or found


def carried(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to through a translator or a tunnel, if any."""
    if isinstance(address, IPv4Address):
        return None
    if address.teredo:
        return address.teredo[1]
    if address.sixtofour:
        return address.sixtofour
    # RFC 4291, section 2.5.5.1: the unspecified address and loopback only look like compatible ones.
    if address.is_unspecified or address.is_loopback:
        return None
    if is_in(address, _NAT64_AND_COMPATIBLE) or _is_isatap(address):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def is_always_refused(address: Address) -> bool:
    """Whether nobody may allow the address, be it by itself or by what it leads to."""
    inner = carried(address)
    return is_in(address, _ALWAYS_REFUSED) or (inner is not None and is_in(inner, _ALWAYS_REFUSED))


def is_public(address: Address) -> bool:
    """Whether the address is a public unicast one."""
    if is_in(address, _REFUSED) or _is_isatap(address):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_isatap(address: Address) -> bool:
    return isinstance(address, IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
