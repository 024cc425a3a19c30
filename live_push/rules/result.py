"""The result of one attempt, and the error codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# Marks the sentences for makemessages. The code that shows a sentence translates it.
from django.utils.translation import gettext_noop as _


class ErrorCode(StrEnum):
    """The causes of failed attempts: the code that the log stores, its meaning, and what to do."""

    meaning: str
    remedy: str

    # The defaults are for the type checker, which reads ErrorCode("reset") as an ordinary call.
    def __new__(cls, value: str, meaning: str = "", remedy: str = "") -> ErrorCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    # No complete header block arrived: the status code is empty.
    DNS_FAILED = (
        "dns_failed",
        _("The host name could not be resolved."),
        _("Correct the URL, or ask the client to repair its DNS."),
    )
    DNS_TIMEOUT = (
        "dns_timeout",
        _("The name lookup took too long."),
        _("Ask the client to check its DNS. If other endpoints fail, too, check your own."),
    )
    ADDRESS_REFUSED = (
        "address_refused",
        _("The destination is not a public address; nothing was sent."),
        _("Ask the client for a public address, or allow this one with ALLOWED_PRIVATE_NETWORKS."),
    )
    CONNECT_REFUSED = (
        "connect_refused",
        _("The client's machine refused the connection: nothing listens on that port."),
        _("Correct the URL, or ask the client to start its server."),
    )
    CONNECT_TIMEOUT = (
        "connect_timeout",
        _("The connection timed out: the client's machine is down, or its firewall drops our packets."),
        _("Ask the client to check its machine and its firewall."),
    )
    CONNECT_FAILED = (
        "connect_failed",
        _("The connection failed: there is no route to the client's machine."),
        _("Ask the client to check its network. If other endpoints fail, too, check your own."),
    )
    TLS_EXPIRED = (
        "tls_expired",
        _("The client's certificate has expired or is not valid yet."),
        _("Ask the client to renew it."),
    )
    TLS_WRONG_NAME = (
        "tls_wrong_name",
        _("The client's certificate is for another host name."),
        _("Correct the URL, or ask the client to replace the certificate."),
    )
    TLS_UNKNOWN_ISSUER = (
        "tls_unknown_issuer",
        _("The client's certificate comes from an authority that we don't trust, or its chain is incomplete."),
        _("Ask the client to send the whole chain, or add the root certificate to CA_BUNDLE."),
    )
    TLS_FAILED = (
        "tls_failed",
        _("The TLS handshake failed."),
        _("Ask the client to offer TLS 1.2 or newer, without a client certificate."),
    )
    TIMEOUT = (
        "timeout",
        _("Connected, but no complete answer came in time; the push may have been processed."),
        _("Ask the client to answer faster."),
    )
    RESET = (
        "reset",
        _("The client closed the connection without answering; the push may have been processed."),
        _("Ask the client to check its server and the proxy in front of it."),
    )
    PROTOCOL_ERROR = (
        "protocol_error",
        _("The answer is not complete HTTP; the push may have been processed."),
        _("Ask the client to check its server and the proxy in front of it."),
    )
    URL_REFUSED = (
        "url_refused",
        _("The endpoint's URL is not allowed; nothing was sent."),
        _("Correct the URL."),
    )
    NEEDS_CREDENTIALS = (
        "needs_credentials",
        _("The stored credentials can't be used: our key changed, or the URL moved to another host; nothing was sent."),
        _("Enter them again."),
    )
    MISCONFIGURED = (
        "misconfigured",
        _("The settings of live_push are wrong; nothing was sent."),
        _("Correct the settings that the server log names."),
    )
    PAYLOAD_FAILED = (
        "payload_failed",
        _("The payload could not be built from the profile; nothing was sent."),
        _("Correct the profile or the serializer."),
    )
    LEASE_LOST = (
        "lease_lost",
        _("The worker stopped before it could record the result; the push may have been processed."),
        _("If this happens again, find out what stops the workers."),
    )
    # Never logged: the start of the attempt is undone, and the delivery waits as before.
    TOO_LATE = (
        "too_late",
        _("The worker's lease expired before the request was sent; nothing was sent."),
        _("Nothing to do: another worker sends it."),
    )
    UNEXPECTED = (
        "unexpected",
        _("An unexpected error occurred."),
        _("See the server log for its type."),
    )
    # A status code arrived, and it is classified.
    REDIRECT = (
        "redirect",
        _("The endpoint redirects elsewhere; redirects are never followed."),
        _("Update the URL."),
    )
    RATE_LIMITED = (
        "rate_limited",
        _("The client says that we send too fast."),
        _("Nothing to do: the endpoint rests for a while. To avoid this, set a rate limit on the endpoint."),
    )
    GONE = (
        "gone",
        _("The client says that the endpoint is gone for good; it was disabled."),
        _("Ask the client for a new URL."),
    )
    TOO_LARGE = (
        "too_large",
        _("The client does not accept a body of this size; it is not sent again."),
        _("Ask the client to raise its limit."),
    )
    CLIENT_ERROR = (
        "client_error",
        _("The client rejected the push."),
        _("Check credentials and URL, and ask the client to check its logs."),
    )
    SERVER_ERROR = (
        "server_error",
        _("The client's server returned an error."),
        _("Ask the client to check its logs."),
    )
    ODD_STATUS = (
        "odd_status",
        _("The client answered with a status code that HTTP doesn't know."),
        _("Ask the client to correct its server."),
    )
    ID_MISSING = (
        "id_missing",
        _("The client accepted the push, but returned no usable third_party_id."),
        _("Ask the client to return one, or switch off the third-party ID synchronization."),
    )
    ID_CONFLICT = (
        "id_conflict",
        _("The client returned a third_party_id that belongs to another profile; it was not stored."),
        _("Find out with the client to which member it belongs."),
    )


STATUS_2XX: Final = range(200, 300)
"""The status codes of an accepted request."""


def is_2xx(status_code: int | None) -> bool:
    """Return whether the client accepted the request; false if it sent no status code."""
    return status_code is not None and status_code in STATUS_2XX


@dataclass(frozen=True)
class Result:
    """The result of one attempt.

    ``status_code``
        100 to 999; ``None`` unless a complete header block arrived.
    ``error_code``
        One of :class:`ErrorCode` if no header block arrived, else empty.
    ``body``
        The answer's first bytes, at most 64 KiB. ``body_complete`` says whether these are all.
    ``retry_after``
        The unparsed header; ``None`` if there was none.
    ``duration_ms``
        From the start of the attempt to its end, reading the answer included.
    ``request_written``
        Whether the request may have been written completely, so that the client may have processed the push. True with
        any status code, and if the answer timed out or the connection broke after the last byte.
    ``detail``
        One sentence of our own, or empty: never an exception's text, an address, or a URL with its path.
    """

    status_code: int | None = None
    error_code: str = ""
    # Clients may echo what they were sent, so neither value may appear in a traceback.
    body: bytes = field(default=b"", repr=False)
    body_complete: bool = False
    retry_after: str | None = None
    duration_ms: int = 0
    request_written: bool = False
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.status_code is None) == (self.error_code == ""):
            raise ValueError("A result has either a status code or an error code: unknown stays empty.")
        if self.status_code is not None:
            object.__setattr__(self, "request_written", True)
        # Plain text, because database drivers convert enums in different ways.
        object.__setattr__(self, "error_code", str(self.error_code))
