"""What one attempt brought back, and the one vocabulary of its errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# Marks for the translators; whoever shows a sentence translates it.
from django.utils.translation import gettext_noop as _


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
        _("The host name could not be resolved."),
        _("The client must mend its DNS, or the operator must correct the URL."),
    )
    DNS_TIMEOUT = (
        "dns_timeout",
        _("The name lookup took too long."),
        _("The client must look at its DNS; where other endpoints suffer too, the operator must look at ours."),
    )
    ADDRESS_REFUSED = (
        "address_refused",
        _("The destination is not a public address; nothing was sent."),
        _("The client must publish a public address, or the operator allow it by ALLOWED_PRIVATE_NETWORKS."),
    )
    CONNECT_REFUSED = (
        "connect_refused",
        _("The client's machine refused the connection: nothing listens on that port."),
        _("The client must start its server, or the operator must correct the URL."),
    )
    CONNECT_TIMEOUT = (
        "connect_timeout",
        _("No connection came about in time: the client's machine is down, or its firewall drops us."),
        _("The client must look at its machine and its firewall."),
    )
    CONNECT_FAILED = (
        "connect_failed",
        _("No connection came about: there is no route to the client's machine."),
        _("The client must look at its network; where other endpoints suffer too, the operator must look at ours."),
    )
    TLS_EXPIRED = (
        "tls_expired",
        _("The client's certificate has expired or is not valid yet."),
        _("The client must renew it."),
    )
    TLS_WRONG_NAME = (
        "tls_wrong_name",
        _("The client's certificate is for another host name."),
        _("The client must replace it, or the operator must correct the URL."),
    )
    TLS_UNKNOWN_ISSUER = (
        "tls_unknown_issuer",
        _("The client's certificate comes from an authority that we don't trust, or its chain is incomplete."),
        _("The client must send the whole chain, or the operator must add the authority to CA_BUNDLE."),
    )
    TLS_FAILED = (
        "tls_failed",
        _("No encrypted connection could be agreed on."),
        _("The client must offer TLS 1.2 or newer, and ask for no client certificate."),
    )
    TIMEOUT = (
        "timeout",
        _("Connected, but no complete answer came in time; the push may have been processed."),
        _("The client must answer faster."),
    )
    RESET = (
        "reset",
        _("The client closed the connection without answering; the push may have been processed."),
        _("The client must look at its server or the proxy before it."),
    )
    PROTOCOL_ERROR = (
        "protocol_error",
        _("What came back is not a complete HTTP answer; the push may have been processed."),
        _("The client must look at its server or the proxy before it."),
    )
    URL_REFUSED = (
        "url_refused",
        _("The endpoint's URL breaks the rule for URLs; nothing was sent."),
        _("The operator must correct the URL."),
    )
    NEEDS_CREDENTIALS = (
        "needs_credentials",
        _("The stored credentials can't be used: our key changed, or the URL moved to another host; nothing was sent."),
        _("The operator must type them again."),
    )
    MISCONFIGURED = (
        "misconfigured",
        _("Our own settings keep us from sending."),
        _("The operator must correct them; the server log says which."),
    )
    PAYLOAD_FAILED = (
        "payload_failed",
        _("The payload could not be built from the profile; nothing was sent."),
        _("The operator must correct the profile or the serializer."),
    )
    LEASE_LOST = (
        "lease_lost",
        _("The worker stopped before it could write down what happened; the push may have been processed."),
        _("Nobody, where it happens once; else the operator finds out what stops the workers."),
    )
    UNEXPECTED = (
        "unexpected",
        _("Something failed that was not foreseen."),
        _("The operator finds its kind in the server log."),
    )
    # A status code arrived, and this is the verdict on it.
    REDIRECT = (
        "redirect",
        _("The endpoint redirects elsewhere; redirects are never followed."),
        _("The operator must update the URL."),
    )
    RATE_LIMITED = (
        "rate_limited",
        _("The client says that we send too fast."),
        _("Nobody: the endpoint is left to rest. A rate limit on the endpoint avoids it."),
    )
    GONE = (
        "gone",
        _("The client says that the endpoint is gone for good; it was disabled."),
        _("The operator must ask the client."),
    )
    TOO_LARGE = (
        "too_large",
        _("The client refuses a body of this size; it is not sent again."),
        _("The client must raise its limit."),
    )
    CLIENT_ERROR = (
        "client_error",
        _("The client refused the push."),
        _("The operator must check credentials and URL; the client finds more in its own log."),
    )
    SERVER_ERROR = (
        "server_error",
        _("The client's server failed on the push."),
        _("The client must look into its log."),
    )
    ODD_STATUS = (
        "odd_status",
        _("The client answered with a status code that HTTP doesn't know."),
        _("The client must correct its server."),
    )
    ID_MISSING = (
        "id_missing",
        _("The client accepted the push, but returned no usable third_party_id."),
        _("The client must return one, or the operator must switch the capture off."),
    )
    ID_CONFLICT = (
        "id_conflict",
        _("The client returned a third_party_id that belongs to another profile; it was not stored."),
        _("The operator must find out with the client whose it is."),
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
