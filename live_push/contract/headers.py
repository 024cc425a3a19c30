"""The headers of a request: their names, their values, and which further ones an endpoint may carry."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from live_push import __version__
from live_push.concealed import Masked

from .signature import sign

AUTHORIZATION = "Authorization"
API_KEY = "x-api-key"
CONTENT_TYPE = "Content-Type"
USER_AGENT = "User-Agent"
WEBHOOK_ID = "webhook-id"
WEBHOOK_TIMESTAMP = "webhook-timestamp"
WEBHOOK_SIGNATURE = "webhook-signature"
SEQUENCE = "live-push-sequence"
ATTEMPT = "live-push-attempt"
TEST = "live-push-test"

JSON = "application/json"

_OURS = frozenset(
    {
        AUTHORIZATION.lower(),
        API_KEY,
        CONTENT_TYPE.lower(),
        USER_AGENT.lower(),
        # Told by the transport, or changing what the bytes or the answer mean.
        "accept-encoding",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
    }
)
_OUR_PREFIXES = ("webhook-", "live-push-")

# RFC 9110, section 7.6.1, and those that RFC 2616, section 13.5.1, listed before it.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]{0,1024}")
_KEY = re.compile(r"[\x21-\x7e]{1,1024}")


@dataclass(frozen=True)
class Auth:
    """How we log in at an endpoint. No credential shows in its ``repr``."""

    method: Literal["none", "basic", "api_key"]
    credential: str = field(default="", repr=False)
    """The value of the header, ready to be sent."""

    @classmethod
    def none(cls) -> Auth:
        """No login."""
        return cls("none")

    @classmethod
    def basic(cls, username: str, password: str) -> Auth:
        """Basic authentication over the UTF-8 bytes (RFC 7617). Raises ``ValueError`` as :func:`check_basic`."""
        check_basic(username, password)
        return cls("basic", Masked("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()))

    @classmethod
    def api_key(cls, key: str) -> Auth:
        """A key in ``x-api-key``. Raises ``ValueError`` as :func:`check_api_key`."""
        check_api_key(key)
        return cls("api_key", Masked(key))


def build(
    *,
    event_id: str,
    sequence: int | None,
    attempt_number: int,
    timestamp: int,
    body: bytes,
    auth: Auth,
    signing_secrets: Sequence[str],
    extra_headers: Mapping[str, str],
    test: bool = False,
) -> dict[str, str]:
    """The headers of one attempt.

    ``timestamp`` is the attempt's, in whole Unix seconds; ``attempt_number`` counts from 1; ``sequence`` is ``None``
    for a test push, which has none. The body is signed once with each of ``signing_secrets``, none where there is none.
    Raises ``ValueError`` for an extra header that is not allowed and for a signing secret that is none.
    """
    check_extra_headers(extra_headers)
    headers = {
        **extra_headers,
        CONTENT_TYPE: JSON,
        USER_AGENT: f"live-push/{__version__}",
        WEBHOOK_ID: event_id,
        WEBHOOK_TIMESTAMP: f"{timestamp:d}",  # never a float: the receiver signs these digits
        ATTEMPT: str(attempt_number),
    }
    if auth.method == "basic":
        headers[AUTHORIZATION] = auth.credential
    elif auth.method == "api_key":
        headers[API_KEY] = auth.credential
    if signing_secrets:
        headers[WEBHOOK_SIGNATURE] = " ".join(sign(secret, event_id, timestamp, body) for secret in signing_secrets)
    if sequence is not None:
        headers[SEQUENCE] = str(sequence)
    if test:
        headers[TEST] = "1"
    return headers


def credentials_in(headers: Mapping[str, Any]) -> tuple[str, ...]:
    """The credentials that a request carries: what its answer may echo and nobody may read.

    The key; or the password, and its pair with the user name, which travels in base64. The signature is none: its
    secret never leaves us.
    """
    found: list[str] = []
    if API_KEY in headers:
        found.append(Masked(headers[API_KEY]))
    if AUTHORIZATION in headers:
        pair = Masked(base64.b64decode(headers[AUTHORIZATION].removeprefix("Basic ")).decode())
        found += [pair, Masked(pair.partition(":")[2])]
    return tuple(found)


def check_extra_headers(headers: Any) -> None:
    """Raise ``ValueError`` unless these headers may be added to a request.

    A mapping of text to text. Names are tokens (RFC 9110) of at most 100 characters, each once whatever its case, none
    of ours and none that ends at the next hop. Values are printable Latin-1 of at most 1024 characters, without blanks
    at either end.
    """
    if not isinstance(headers, Mapping):
        raise ValueError(f"Extra headers must be an object of names and values; found {type(headers).__name__}.")  # noqa: TRY004
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header_name(name)
        if name.lower() in seen:
            raise ValueError(f"The header {name} is there twice; names are the same in any case.")
        seen.add(name.lower())
        _check_header_value(name, value)


def check_api_key(key: str) -> None:
    """Raise ``ValueError`` unless the key is 1 to 1024 printable ASCII characters without a blank."""
    if not _KEY.fullmatch(_text("An API key", key)):
        raise ValueError("An API key must be 1 to 1024 printable ASCII characters without blanks.")


def check_basic(username: str, password: str) -> None:
    """Raise ``ValueError`` unless both can be sent by Basic authentication (RFC 7617).

    Any text but control characters, and no colon in the user name: it ends at the first one. Either may be empty.
    """
    for what, text in (("The user name", username), ("The password", password)):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in _text(what, text)):
            raise ValueError(f"{what} must not hold control characters or half a character.")
    if ":" in username:
        raise ValueError("The user name must not hold a colon: the password begins there.")


def _check_header_name(name: Any) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~, at most 100.")
    lowered = name.lower()
    if lowered in _OURS or lowered.startswith(_OUR_PREFIXES):
        raise ValueError(f"The header {name} is for live_push alone to set; leave it out.")
    if lowered in _HOP_BY_HOP:
        raise ValueError(f"The header {name} ends at the next hop and never reaches the client; leave it out.")


def _check_header_value(name: str, value: Any) -> None:
    if not _VALUE.fullmatch(_text(f"The value of {name}", value)):
        raise ValueError(f"The value of {name} must be printable Latin-1 characters, at most 1024.")
    if value != value.strip():
        raise ValueError(f"The value of {name} must not begin or end with a blank.")


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        # A ValueError like the others: what a form or a command tells its reader.
        raise ValueError(f"{what} must be text; found {type(value).__name__}.")  # noqa: TRY004
    return value
