"""The rule for an endpoint's URL: https to a public name or address, on an allowed port, and nothing else.

Pure. A URL is checked when an endpoint is saved, and again before each push. The addresses that its name resolves to
are checked when a connection is made. Path and query are percent-encoded by RFC 3986, so that every transport sends the
same bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote

import idna

from live_push.exceptions import EndpointUrlError

from .messages import Message
from .networks import AddressRule, is_in_any, parse_address

MOST_CHARACTERS: Final = 2048
DEFAULT_PORT: Final = 443

MASK: Final = "••••"
"""Shown instead of a value that may be a secret."""

# Names that have a meaning only inside a network, and their subdomains: RFC 6761 and RFC 6762 (localhost, local),
# RFC 8375 (home.arpa), ICANN's resolution 2024.07.29.06 (internal), RFC 6762 appendix G (the others in use).
INTERNAL_NAMES: Final = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "home.arpa",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
)

# Control characters, spaces, surrogates, and characters that browsers and libraries parse differently. With them, the
# host that is checked could differ from the host that is dialled.
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
# RFC 3986, appendix B, narrowed to what is allowed here.
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)(?P<authority>[^/?#]*)(?P<rest>[^#]*)")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# Names that the WHATWG URL standard and inet_aton() parse as a number, that is, as an IPv4 address.
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


# A percent sign with or without its digits, and each character that RFC 3986, sections 3.3 and 3.4, does not allow in a
# path or a query. Square brackets belong around an address only.
_TO_ENCODE: Final = re.compile(r"%([0-9A-Fa-f]{2})?|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")


class _Parts(NamedTuple):
    host: str  # A-labels, a dotted quad, or an IPv6 address without brackets
    port: int
    path_and_query: str

    @property
    def host_in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def check(url: str, *, allowed_ports: Collection[int] | None, addresses: AddressRule | None) -> str:
    """Return the URL in its normal form.

    The normal form has a lower-case host in A-labels without a trailing dot, no default port, and a percent-encoded
    path.

    ``allowed_ports``
        ``None`` for any.
    ``addresses``
        Checks a host that is an address. If the rule allows private networks, internal names pass, because the resolved
        address will be checked. ``None`` lets all names and addresses pass.

    Raises :class:`~live_push.exceptions.EndpointUrlError` that says what was found and what to write instead.
    """
    parts = _parse(url)
    if allowed_ports is not None and parts.port not in allowed_ports:
        allowed = ", ".join(str(port) for port in sorted(allowed_ports))
        raise EndpointUrlError(Message("port_not_allowed", port=parts.port, allowed=allowed))
    if addresses is not None:
        _check_destination(parts.host, addresses)
    port = "" if parts.port == DEFAULT_PORT else f":{parts.port}"
    normal = f"https://{parts.host_in_url}{port}{parts.path_and_query}"
    # Checked again, because A-labels and escapes are longer than the typed text.
    _check_length(normal)
    return normal


def origin(url: str) -> str:
    """Return scheme, host and port in normal form, with the port always written. Credentials are bound to them.

    Raises :class:`~live_push.exceptions.EndpointUrlError` if the URL can't be parsed.
    """
    parts = _parse(url)
    return f"https://{parts.host_in_url}:{parts.port}"


def display_host(url: str) -> str:
    """Return the host in U-labels. Show the A-labels, too, because characters of two scripts can look the same.

    Raises :class:`~live_push.exceptions.EndpointUrlError` if the URL can't be parsed.
    """
    parts = _parse(url)
    return ".".join(idna.ulabel(label) if label.startswith("xn--") else label for label in parts.host_in_url.split("."))


def shown_url(url: str) -> str:
    """Return the URL with masked query values, because some clients put a token there."""
    path, mark, query = url.partition("?")
    return path + mark + re.sub("[^&;]+", lambda match: _without_value(match[0]), query)


def _without_value(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}={value and MASK}" if equals else MASK


def _parse(url: str) -> _Parts:
    if not isinstance(url, str):
        raise EndpointUrlError(Message("url_type", type=type(url).__name__))
    _check_length(url)
    if match := _FORBIDDEN.search(url):
        raise EndpointUrlError(Message("url_character", code=f"{ord(match[0]):04X}"))
    if "#" in url:
        raise EndpointUrlError(Message("url_fragment"))
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() != "https" or match["slashes"] != "//":
        raise EndpointUrlError(Message("url_scheme"))
    host, port = _split(match["authority"])
    return _Parts(_host(host), _port(port), _path_and_query(match["rest"]))


def _check_length(url: str) -> None:
    if len(url) > MOST_CHARACTERS:
        raise EndpointUrlError(Message("url_length", count=len(url), most=MOST_CHARACTERS))


def _split(authority: str) -> tuple[str, str | None]:
    if "@" in authority:
        raise EndpointUrlError(Message("url_credentials"))
    if "%" in authority:
        raise EndpointUrlError(Message("host_percent"))
    host, bracket, port = authority.rpartition("]")
    if bracket:
        if port and not port.startswith(":"):
            raise EndpointUrlError(Message("address_rest"))
        return host + bracket, port[1:] if port else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    # str.isdigit() would accept digits of other scripts.
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise EndpointUrlError(Message("port_number"))
    return int(text)


def _path_and_query(text: str) -> str:
    if match := _NOT_ASCII.search(text):
        # The sentence does not repeat the rest of the URL, because it is stored and shown, and the query may hold a
        # token.
        raise EndpointUrlError(Message("path_not_ascii", character=repr(match[0]), encoded=quote(match[0])))
    if text.startswith("//"):
        # The library requests would send a single slash.
        raise EndpointUrlError(Message("path_slashes"))
    return _TO_ENCODE.sub(_encoded, text if text.startswith("/") else f"/{text}")


def _encoded(found: re.Match[str]) -> str:
    # RFC 3986, section 2.1: the digits of an escape are in upper case. A percent sign alone stands for itself.
    return found[0].upper() if found[1] else quote(found[0], safe="")


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6(text)
    # Checked before lower(), which turns the Kelvin sign into an ASCII k.
    if (plain := unicodedata.normalize("NFKC", text)) != text:
        raise EndpointUrlError(Message("host_lookalikes", plain=plain.lower()))
    host = text.lower()
    labels = host.removesuffix(".").split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _ipv4(".".join(labels))
    name = ".".join(_a_label(label) for label in labels)
    if len(name) > 253:
        raise EndpointUrlError(Message("host_length", count=len(name)))
    return name


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text[1:-1] if text.endswith("]") else text)
    except AddressValueError:
        raise EndpointUrlError(Message("address_not_ipv6")) from None
    # One address, one origin; besides, its normal form differs between Python versions.
    if address.ipv4_mapped:
        raise EndpointUrlError(Message("address_mapped", address=str(address.ipv4_mapped)))
    return str(address)


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise EndpointUrlError(Message("host_number")) from None


def _a_label(label: str) -> str:
    """Return the label in the form that DNS uses (RFC 5890, section 2.3.2.1)."""
    encoded = label
    # ASCII labels bypass the library, because it rejects hyphens in third and fourth place, which some hosts have.
    if not label.isascii() or label.startswith("xn--"):
        try:
            encoded = idna.alabel(label).decode()
        except ValueError:
            raise EndpointUrlError(Message("host_label_idna", label=repr(label))) from None
    if not _LABEL.fullmatch(encoded) or len(encoded) > 63:
        raise EndpointUrlError(Message("host_label", label=repr(label)))
    return encoded


def _check_destination(host: str, addresses: AddressRule) -> None:
    if (address := parse_address(host)) is not None:
        if is_in_any(address, addresses.blocked):
            raise EndpointUrlError(Message("host_blocked"))
        if not addresses.permits(host):
            raise EndpointUrlError(Message("host_outside_networks" if addresses.allowed else "host_not_public"))
    elif addresses.allowed:
        return
    elif "." not in host:
        raise EndpointUrlError(Message("host_single_word", host=repr(host), example=host))
    elif any(f".{host}".endswith(f".{name}") for name in INTERNAL_NAMES):
        raise EndpointUrlError(Message("host_internal", host=repr(host)))
