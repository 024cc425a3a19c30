"""The rule for an endpoint's URL: https to a public name or address, on an allowed port, and nothing else.

Pure. Checked when an endpoint is saved, as help, and again before each push; what a name resolves to is judged when a
connection is made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote

import idna

from .delivery.networks import is_public, read
from .exceptions import EndpointUrlError

MOST_CHARACTERS: Final = 2048
DEFAULT_PORT: Final = 443

# Names that only mean something inside a network, and those under them: RFC 6761 and RFC 6762 (localhost, local),
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

# Controls, space, halves of characters, and the signs that browsers and libraries read differently: whoever accepts
# them checks one host and dials another.
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
# RFC 3986, appendix B, narrowed to what is allowed here.
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)(?P<authority>[^/?#]*)(?P<rest>[^#]*)")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# What WHATWG's URL standard, and inet_aton(), take for a number: such a name is an IPv4 address in disguise.
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class _Parts(NamedTuple):
    host: str  # A-labels, a dotted quad, or an IPv6 address without brackets
    port: int
    path_and_query: str

    @property
    def host_in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def check(url: str, *, allowed_ports: Collection[int] | None, private_allowed: bool) -> str:
    """The URL in its normal form: lower-case host in A-labels without a trailing dot, no default port, a path.

    ``allowed_ports``
        ``None`` for any.
    ``private_allowed``
        Lets internal names and addresses pass, because the resolved address will be judged.

    Raises :class:`~live_push.exceptions.EndpointUrlError` that says what was found and what to write instead.
    """
    parts = _parse(url)
    if allowed_ports is not None and parts.port not in allowed_ports:
        allowed = ", ".join(str(port) for port in sorted(allowed_ports))
        raise EndpointUrlError(f"The port is {parts.port}; allowed are: {allowed}.")
    if not private_allowed:
        _check_public(parts.host)
    port = "" if parts.port == DEFAULT_PORT else f":{parts.port}"
    normal = f"https://{parts.host_in_url}{port}{parts.path_and_query}"
    # Again, because A-labels are longer than what was typed.
    _check_length(normal)
    return normal


def origin(url: str) -> str:
    """Scheme, host and port in normal form, the port always written: what credentials are bound to.

    Raises :class:`~live_push.exceptions.EndpointUrlError` where the URL can't be read.
    """
    parts = _parse(url)
    return f"https://{parts.host_in_url}:{parts.port}"


def display_host(url: str) -> str:
    """The host as people write it, in U-labels. Show it beside the A-labels: letters of two scripts can look alike.

    Raises :class:`~live_push.exceptions.EndpointUrlError` where the URL can't be read.
    """
    parts = _parse(url)
    return ".".join(idna.ulabel(label) if label.startswith("xn--") else label for label in parts.host_in_url.split("."))


def _parse(url: str) -> _Parts:
    if not isinstance(url, str):
        raise EndpointUrlError(f"The URL is {type(url).__name__}; write text.")
    _check_length(url)
    if found := _FORBIDDEN.search(url):
        raise EndpointUrlError(
            f"The URL contains the character U+{ord(found[0]):04X}; leave it out, or write it percent-encoded."
        )
    if "#" in url:
        raise EndpointUrlError("The URL has a fragment, which is never sent; leave out the # and what follows.")
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() != "https" or match["slashes"] != "//":
        raise EndpointUrlError("The URL does not begin with https:// and a host; write https://host/path.")
    host, port = _split(match["authority"])
    return _Parts(_host(host), _port(port), _path_and_query(match["rest"]))


def _check_length(url: str) -> None:
    if len(url) > MOST_CHARACTERS:
        raise EndpointUrlError(f"The URL has {len(url)} characters; write at most {MOST_CHARACTERS}.")


def _split(authority: str) -> tuple[str, str | None]:
    if "@" in authority:
        raise EndpointUrlError(
            "The URL contains a user name or password; leave them out and use the endpoint's authentication."
        )
    if "%" in authority:
        raise EndpointUrlError("The host contains a %; write the name or the address itself, without a zone.")
    host, bracket, port = authority.rpartition("]")
    if bracket:
        if port and not port.startswith(":"):
            raise EndpointUrlError("Something follows the address in brackets; write https://[address]:port/path.")
        return host + bracket, port[1:] if port else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    # str.isdigit() would take digits of other scripts.
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise EndpointUrlError("The port is not a number from 1 to 65535; correct it, or leave it out with its colon.")
    return int(text)


def _path_and_query(text: str) -> str:
    if found := _NOT_ASCII.search(text):
        # The rest stays out of the sentence, because it is stored and shown: the query may hold a token.
        raise EndpointUrlError(
            f"The path contains {found[0]!r}, which is not ASCII; write it percent-encoded: {quote(found[0])}"
        )
    if text.startswith("//"):
        # requests would send it as one.
        raise EndpointUrlError("The path begins with more than one slash; write one.")
    return text if text.startswith("/") else f"/{text}"


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6(text)
    # Before it is lower case, where a Kelvin sign is a plain k.
    if (plain := unicodedata.normalize("NFKC", text)) != text:
        raise EndpointUrlError(
            f"The host contains look-alikes of other letters, digits or dots; write the plain ones: {plain.lower()}"
        )
    host = text.lower()
    labels = host.removesuffix(".").split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _ipv4(".".join(labels))
    name = ".".join(_a_label(label) for label in labels)
    if len(name) > 253:
        raise EndpointUrlError(f"The host has {len(name)} characters; a name has at most 253.")
    return name


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text[1:-1] if text.endswith("]") else text)
    except AddressValueError:
        raise EndpointUrlError("What stands in brackets is not an IPv6 address; write one, or a name.") from None
    # One address, one origin; besides, its normal form differs between Python versions.
    if address.ipv4_mapped:
        raise EndpointUrlError(f"The host is an IPv4 address in IPv6 clothes; write {address.ipv4_mapped}.")
    return str(address)


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise EndpointUrlError(
            "The host ends in a number but is not an IPv4 address; write four decimal numbers, or a name."
        ) from None


def _a_label(label: str) -> str:
    """The label in the form that DNS knows (RFC 5890, section 2.3.2.1)."""
    encoded = label
    # Plain labels bypass the library: it refuses hyphens in third and fourth place, and such hosts are in use.
    if not label.isascii() or label.startswith("xn--"):
        try:
            encoded = idna.alabel(label).decode()
        except ValueError:
            raise EndpointUrlError(
                f"The host's part {label!r} is not a valid internationalized name; correct it."
            ) from None
    if not _LABEL.fullmatch(encoded) or len(encoded) > 63:
        raise EndpointUrlError(
            f"The host's part {label!r} is not valid; write 1 to 63 letters, digits and inner hyphens between the dots."
        )
    return encoded


def _check_public(host: str) -> None:
    if (address := read(host)) is not None:
        if not is_public(address):
            raise EndpointUrlError("The host is not a public address; write a public one, or a public name.")
    elif "." not in host:
        raise EndpointUrlError(f"The host {host!r} is a single word; write a full name such as {host}.example.com.")
    elif any(f".{host}".endswith(f".{name}") for name in INTERNAL_NAMES):
        raise EndpointUrlError(f"The host {host!r} is an internal name; write a public one.")
