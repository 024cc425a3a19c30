"""What one attempt brought back, and the one vocabulary of its errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ErrorCode(StrEnum):
    """Why an attempt failed: what the log stores, what it means, who must act."""

    meaning: str
    remedy: str

    # The defaults are for the type checker, to which ErrorCode("reset") is a call like any other.
    def __new__(cls, value: str, meaning: str = "", remedy: str = "") -> ErrorCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    # No complete header block arrived: the status code is empty.
    DNS_FAILED = (
        "dns_failed",
        "The host name could not be resolved.",
        "The client must mend its DNS, or the operator must correct the URL.",
    )
    DNS_TIMEOUT = (
        "dns_timeout",
        "The name lookup took too long.",
        "The client must look at its DNS; where other endpoints suffer too, the operator must look at ours.",
    )
    ADDRESS_REFUSED = (
        "address_refused",
        "The destination is not a public address; nothing was sent.",
        "The client must publish a public address, or the operator must list its network in ALLOWED_PRIVATE_NETWORKS.",
    )
    CONNECT_REFUSED = (
        "connect_refused",
        "The client's machine refused the connection: nothing listens on that port.",
        "The client must start its server, or the operator must correct the URL.",
    )
    CONNECT_TIMEOUT = (
        "connect_timeout",
        "No connection came about in time: the client's machine is down, or its firewall drops us.",
        "The client must look at its machine and its firewall.",
    )
    CONNECT_FAILED = (
        "connect_failed",
        "No connection came about: there is no route to the client's machine.",
        "The client must look at its network; where other endpoints suffer too, the operator must look at ours.",
    )
    TLS_EXPIRED = (
        "tls_expired",
        "The client's certificate has expired or is not valid yet.",
        "The client must renew it.",
    )
    TLS_WRONG_NAME = (
        "tls_wrong_name",
        "The client's certificate is for another host name.",
        "The client must replace it, or the operator must correct the URL.",
    )
    TLS_UNKNOWN_ISSUER = (
        "tls_unknown_issuer",
        "The client's certificate comes from an authority that we don't trust, or its chain is incomplete.",
        "The client must send the whole chain, or the operator must add the authority to CA_BUNDLE.",
    )
    TLS_FAILED = (
        "tls_failed",
        "No encrypted connection could be agreed on.",
        "The client must offer TLS 1.2 or newer, and ask for no client certificate.",
    )
    TIMEOUT = (
        "timeout",
        "Connected, but no complete answer came in time; the push may have been processed.",
        "The client must answer faster.",
    )
    RESET = (
        "reset",
        "The client closed the connection without answering; the push may have been processed.",
        "The client must look at its server or the proxy before it.",
    )
    PROTOCOL_ERROR = (
        "protocol_error",
        "What came back is not a complete HTTP answer; the push may have been processed.",
        "The client must look at its server or the proxy before it.",
    )
    URL_REFUSED = (
        "url_refused",
        "The endpoint's URL breaks the rule for URLs; nothing was sent.",
        "The operator must correct the URL.",
    )
    NEEDS_CREDENTIALS = (
        "needs_credentials",
        "The stored credentials can't be used: our key changed, or the URL moved to another host; nothing was sent.",
        "The operator must type them again.",
    )
    MISCONFIGURED = (
        "misconfigured",
        "Our own settings keep us from sending.",
        "The operator must correct them; the server log says which.",
    )
    PAYLOAD_FAILED = (
        "payload_failed",
        "The payload could not be built from the profile; nothing was sent.",
        "The operator must correct the profile or the serializer.",
    )
    LEASE_LOST = (
        "lease_lost",
        "The worker stopped before it could write down what happened; the push may have been processed.",
        "Nobody, where it happens once; else the operator finds out what stops the workers.",
    )
    UNEXPECTED = (
        "unexpected",
        "Something failed that was not foreseen.",
        "The operator finds its kind in the server log.",
    )
    # A status code arrived, and this is the verdict on it.
    REDIRECT = (
        "redirect",
        "The endpoint redirects elsewhere; redirects are never followed.",
        "The operator must update the URL.",
    )
    RATE_LIMITED = (
        "rate_limited",
        "The client says that we send too fast.",
        "Nobody: the endpoint is left to rest. A rate limit on the endpoint avoids it.",
    )
    GONE = (
        "gone",
        "The client says that the endpoint is gone for good; it was disabled.",
        "The operator must ask the client.",
    )
    TOO_LARGE = (
        "too_large",
        "The client refuses a body of this size; it is not sent again.",
        "The client must raise its limit.",
    )
    CLIENT_ERROR = (
        "client_error",
        "The client refused the push.",
        "The operator must check credentials and URL; the client finds more in its own log.",
    )
    SERVER_ERROR = (
        "server_error",
        "The client's server failed on the push.",
        "The client must look into its log.",
    )
    ODD_STATUS = (
        "odd_status",
        "The client answered with a status code that HTTP doesn't know.",
        "The client must correct its server.",
    )
    ID_MISSING = (
        "id_missing",
        "The client accepted the push, but returned no usable third_party_id.",
        "The client must return one, or the operator must switch the capture off.",
    )
    ID_CONFLICT = (
        "id_conflict",
        "The client returned a third_party_id that belongs to another profile; it was not stored.",
        "The operator must find out with the client whose it is.",
    )


@dataclass(frozen=True)
class Result:
    """What one attempt brought back.

    ``status_code``
        100 to 999; ``None`` unless a complete header block arrived.
    ``error_code``
        One of :class:`ErrorCode` where no header block arrived, else empty.
    ``body``
        The answer's first bytes, at most 64 KiB; ``body_complete`` tells whether that is all of it.
    ``retry_after``
        The header as it came, unparsed; ``None`` where there was none.
    ``duration_ms``
        From the start of the attempt to its end, reading the answer included.
    ``detail``
        One sentence of our own, or empty: never an exception's text, an address, or a URL with its path.
    """

    status_code: int | None = None
    error_code: str = ""
    # Clients echo what they were sent: neither may show up in a traceback.
    body: bytes = field(default=b"", repr=False)
    body_complete: bool = False
    retry_after: str | None = None
    duration_ms: int = 0
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.status_code is None) == (self.error_code == ""):
            raise ValueError("A result has either a status code or an error code: unknown stays empty.")
        # Plain text, because database drivers have ideas of their own about enums.
        object.__setattr__(self, "error_code", str(self.error_code))


def explain(error_code: str) -> str:
    """What an error code means and who must act, in the operator's words; empty for an empty code.

    A code that is not ours (a host's own transport may have some) is explained by itself.
    """
    try:
        known = ErrorCode(error_code)
    except ValueError:
        return error_code
    return f"{known.meaning} {known.remedy}"
