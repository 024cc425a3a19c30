"""Decide which IP addresses a push may go to.

Pushes go to public addresses, and to networks that the operator allows. The tables list every network that is not
public, with its source. Python's ``is_global`` is only an additional check: its result differs between builds, and it
takes Azure's WireServer, multicast and internal addresses behind NAT64 for global. Tests compare the tables with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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

# The networks of the IANA special-purpose address registries. They are refused even if a registry calls them globally
# reachable, because no API is served from them. IPv4-mapped IPv6 is missing, because the mapped IPv4 address is checked
# instead.
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

# Refused even inside a network that the operator allows: these addresses hand out the credentials of our own machines.
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


def parse_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """Return networks in CIDR notation as objects. An IPv4-mapped network becomes the IPv4 network inside it.

    Raises ``ValueError`` for text that is not a network.
    """
    return tuple(_unmapped(ip_network(network)) for network in networks)


def _unmapped(network: Network) -> Network:
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if inner is None or network.prefixlen < 96 else IPv4Network((inner, network.prefixlen - 96))


_REFUSED: Final = parse_networks(REFUSED)
_ALWAYS_REFUSED: Final = parse_networks(ALWAYS_REFUSED)
_NAT64_AND_COMPATIBLE: Final = parse_networks(["::/96", "64:ff9b::/96", "64:ff9b:1::/48"])
# An ISATAP address has any prefix, the interface identifier 0:5efe or 200:5efe, and an IPv4 address (RFC 5214,
# section 6.1).
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def is_in_any(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether the address is in one of the networks."""
    return any(address in network for network in networks)


def parse_address(text: str) -> Address | None:
    """Return the address to check. An IPv4-mapped address becomes the IPv4 address inside it.

    IPv4-mapped addresses are defined in RFC 4291, section 2.5.5.2. Returns ``None`` for text that is not an address and
    for an address with a zone (RFC 4007), which has a meaning on this machine only.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address to which an IPv6 address leads through a translator or a tunnel; ``None`` for others.

    Known are Teredo, 6to4, NAT64, IPv4-compatible addresses and ISATAP.
    """
    if isinstance(address, IPv4Address):
        return None
    if address.teredo:
        return address.teredo[1]
    if address.sixtofour:
        return address.sixtofour
    # "::" and "::1" look like IPv4-compatible addresses, but are not (RFC 4291, section 2.5.5.1).
    if address.is_unspecified or address.is_loopback:
        return None
    if is_in_any(address, _NAT64_AND_COMPATIBLE) or _is_isatap(address):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def is_always_refused(address: Address) -> bool:
    """Return whether the address, or the IPv4 address embedded in it, is refused even if the operator allows it."""
    inner = embedded_ipv4(address)
    return is_in_any(address, _ALWAYS_REFUSED) or (inner is not None and is_in_any(inner, _ALWAYS_REFUSED))


@dataclass(frozen=True)
class AddressRule:
    """Decide which addresses a push may go to.

    Permitted are public addresses and the ``allowed`` networks, except link-local and cloud metadata addresses. Never
    permitted are the ``blocked`` networks. An IPv4 address embedded in an IPv6 address must be permitted as well.
    """

    allowed: tuple[Network, ...] = ()
    blocked: tuple[Network, ...] = ()

    def permits(self, text: str) -> bool:
        """Return whether a push may go to this address; false for text that is not an address."""
        address = parse_address(text)
        if address is None or is_always_refused(address) or is_in_any(address, self.blocked):
            return False
        inner = embedded_ipv4(address)
        if inner is None:
            return is_public(address) or is_in_any(address, self.allowed)
        # Both addresses must be permitted: to allow a translator's network does not allow the networks behind it.
        inner_permitted = is_public(inner) or is_in_any(inner, self.allowed)
        return is_in_any(address, self.allowed) and inner_permitted and not is_in_any(inner, self.blocked)


def is_public(address: Address) -> bool:
    """Return whether the address is a public unicast address."""
    if is_in_any(address, _REFUSED) or _is_isatap(address):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_isatap(address: Address) -> bool:
    return isinstance(address, IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
