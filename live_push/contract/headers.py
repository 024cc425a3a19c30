"""The headers of a push: names, values, credentials, and the rules for an endpoint's extra headers."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from live_push import __version__
from live_push.rules.masking import Masked
from live_push.rules.messages import Message

from .signature import sign

# The names of the headers of a push. Their meaning for the client is described in live_push.contract.openapi.
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
"""The content type of a push."""

# An endpoint's extra headers must not use these names.
_RESERVED = frozenset(
    {
        AUTHORIZATION.lower(),
        API_KEY,
        CONTENT_TYPE.lower(),
        USER_AGENT.lower(),
        # The transport sets these headers, or they would change how the body or the answer must be read.
        "accept-encoding",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
    }
)
_RESERVED_PREFIXES = ("webhook-", "live-push-")

# The hop-by-hop headers of RFC 9110, section 7.6.1, and of its predecessor RFC 2616, section 13.5.1.
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
    """How a request authenticates itself to an endpoint. The ``repr`` does not show the credential."""

    method: Literal["none", "basic", "api_key"]
    credential: str = field(default="", repr=False)
    """The complete value of the header; empty for the method ``none``."""

    @classmethod
    def none(cls) -> Auth:
        """Return the authentication of an endpoint that needs none."""
        return cls("none")

    @classmethod
    def basic(cls, username: str, password: str) -> Auth:
        """Return Basic authentication in UTF-8 (RFC 7617). Raises ``ValueError`` as :func:`check_basic` does."""
        check_basic(username, password)
        return cls("basic", Masked("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()))

    @classmethod
    def api_key(cls, key: str) -> Auth:
        """Return authentication by ``x-api-key``. Raises ``ValueError`` as :func:`check_api_key` does."""
        check_api_key(key)
        return cls("api_key", Masked(key))


def build_headers(
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
    """Return the headers of one attempt.

    ``sequence``
        The sequence of the push; ``None`` for a test push, which has no sequence.
    ``attempt_number``
        The number of the attempt, from 1.
    ``timestamp``
        The time of the attempt, in whole Unix seconds.
    ``signing_secrets``
        The body is signed once with each secret. Without a secret, there is no signature header.
    ``test``
        Whether to mark the request as a test push.

    Raises ``ValueError`` if an extra header is not allowed or a signing secret is malformed.
    """
    check_extra_headers(extra_headers)
    headers = {
        **extra_headers,
        CONTENT_TYPE: JSON,
        USER_AGENT: f"live-push/{__version__}",
        WEBHOOK_ID: event_id,
        # "d" refuses a float, because the receiver computes the signature over these very digits.
        WEBHOOK_TIMESTAMP: f"{timestamp:d}",
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
    """Return the credentials in the headers of a request, so that they can be redacted in its answer.

    The result holds the API key, or the password and the pair ``user name:password``. Signatures are not included: the
    signing secret can't be computed from a signature.
    """
    credentials: list[str] = []
    if API_KEY in headers:
        credentials.append(Masked(headers[API_KEY]))
    if AUTHORIZATION in headers:
        pair = Masked(base64.b64decode(headers[AUTHORIZATION].removeprefix("Basic ")).decode())
        credentials += [pair, Masked(pair.partition(":")[2])]
    return tuple(credentials)


def check_extra_headers(headers: Any) -> None:
    """Raise ``ValueError`` unless these headers may be added to a request.

    The headers are a mapping of text to text. A name is a token (RFC 9110, section 5.6.2) of at most 100 characters. It
    must not be set by live_push, must not be a hop-by-hop header, and must not occur twice, not even in another case. A
    value has at most 1024 printable Latin-1 characters and does not begin or end with a blank.
    """
    if not isinstance(headers, Mapping):
        raise ValueError(Message("extra_headers_type", type=type(headers).__name__))  # noqa: TRY004
    names: set[str] = set()
    for name, value in headers.items():
        _check_header_name(name)
        if name.lower() in names:
            raise ValueError(Message("header_twice", name=name))
        names.add(name.lower())
        _check_header_value(name, value)


def check_api_key(key: str) -> None:
    """Raise ``ValueError`` unless the key has 1 to 1024 printable ASCII characters, without blanks."""
    if not _KEY.fullmatch(_text("An API key", key)):
        raise ValueError(Message("api_key_characters"))


def check_basic(username: str, password: str) -> None:
    """Raise ``ValueError`` unless both can be sent by Basic authentication (RFC 7617).

    Neither may contain control characters or lone surrogates. The user name must not contain a colon, because the
    receiver takes everything after the first colon as the password. Both may be empty.
    """
    if _has_control_characters(_text("The user name", username)):
        raise ValueError(Message("username_characters"))
    if _has_control_characters(_text("The password", password)):
        raise ValueError(Message("password_characters"))
    if ":" in username:
        raise ValueError(Message("username_colon"))


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _check_header_name(name: Any) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(Message("header_name", name=repr(name)))
    lowered = name.lower()
    if lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES):
        raise ValueError(Message("header_reserved", name=name))
    if lowered in _HOP_BY_HOP:
        raise ValueError(Message("header_hop_by_hop", name=name))


def _check_header_value(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(Message("header_value_type", name=name, type=type(value).__name__))  # noqa: TRY004
    if not _VALUE.fullmatch(value):
        raise ValueError(Message("header_value", name=name))
    if value != value.strip():
        raise ValueError(Message("header_value_blanks", name=name))


def _text(label: str, value: Any) -> str:
    if not isinstance(value, str):
        # Forms and commands show the sentence of a ValueError; a TypeError would be taken for a bug.
        raise ValueError(Message("value_text", key=label, type=type(value).__name__))  # noqa: TRY004
    return value
