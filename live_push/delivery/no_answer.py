"""Why no answer arrived: turn errors of the network, TLS and HTTP into our error codes and messages.

The text of the original exception is not stored or logged, because it may contain a header's value, an address or a
URL.
"""

from __future__ import annotations

import logging
import socket
import ssl
from http.client import RemoteDisconnected
from typing import Final

from live_push.exceptions import DestinationRefused, EndpointUrlError, LivePushError
from live_push.rules.local_clock import local_now
from live_push.rules.messages import Message, message_of
from live_push.rules.result import ErrorCode, Result

logger = logging.getLogger("live_push.delivery")


class NoAnswer(LivePushError):  # noqa: N818  (it names the fact, as the public errors do)
    """The attempt ended before a complete header block arrived.

    ``code`` is one of :class:`~live_push.rules.result.ErrorCode`, and ``detail`` is a message that is safe to store.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StaleConnection(NoAnswer):
    """A reused connection was closed before the first byte of an answer.

    The server probably closed the idle connection while the request was being sent. This is not a failure of the
    endpoint, so the attempt continues with a new connection.
    """

    def __init__(self) -> None:
        super().__init__(ErrorCode.RESET, Message("connection_closed"))


def refuse_if_late(not_after: float | None) -> None:
    """Raise :class:`NoAnswer` after the deadline of the start, because another worker may send a newer state then."""
    if not_after is not None and local_now() >= not_after:
        raise NoAnswer(ErrorCode.TOO_LATE, Message("deadline_passed"))


HOST_NAME_MISMATCH: Final = 62
"""OpenSSL's ``X509_V_ERR_HOSTNAME_MISMATCH``."""

# Numbers from OpenSSL's x509_vfy.h, because Python has no names for them.
# X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT: a trusted intermediate certificate whose root is not trusted.
_INTERMEDIATE_WITHOUT_ROOT: Final = 2
_NO_ROOT: Final = Message("certificate_root_missing")
_CERTIFICATE_FAULTS: Final = {
    _INTERMEDIATE_WITHOUT_ROOT: ErrorCode.TLS_UNKNOWN_ISSUER,
    9: ErrorCode.TLS_EXPIRED,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: ErrorCode.TLS_EXPIRED,  # X509_V_ERR_CERT_HAS_EXPIRED
    18: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    HOST_NAME_MISMATCH: ErrorCode.TLS_WRONG_NAME,
    64: ErrorCode.TLS_WRONG_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_CERTIFICATE_DETAILS: Final = {
    ErrorCode.TLS_UNKNOWN_ISSUER: Message("certificate_issuer"),
    ErrorCode.TLS_EXPIRED: Message("certificate_expired"),
    ErrorCode.TLS_WRONG_NAME: Message("certificate_name"),
    ErrorCode.TLS_FAILED: Message("certificate_refused"),
}


def lookup_failed(error: OSError) -> NoAnswer:
    """Return the error for a host name that could not be resolved."""
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.DNS_TIMEOUT, Message("dns_timeout"))
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return NoAnswer(ErrorCode.DNS_FAILED, Message("dns_unknown"))
    return NoAnswer(ErrorCode.DNS_FAILED, Message("dns_failed"))


def connect_failed(error: OSError) -> NoAnswer:
    """Return the error for a host to which no connection could be made."""
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.CONNECT_TIMEOUT, Message("connect_timeout"))
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer(ErrorCode.CONNECT_REFUSED, Message("connect_refused"))
    return NoAnswer(ErrorCode.CONNECT_FAILED, Message("connect_failed"))


def certificate_refused(verify_code: int) -> NoAnswer:
    """Return the error for a certificate that was refused. ``verify_code`` is OpenSSL's number for the reason."""
    code = _CERTIFICATE_FAULTS.get(verify_code, ErrorCode.TLS_FAILED)
    return NoAnswer(code, _NO_ROOT if verify_code == _INTERMEDIATE_WITHOUT_ROOT else _CERTIFICATE_DETAILS[code])


def exchange_failed(error: Exception) -> NoAnswer:
    """Return the error for a TLS handshake, a request or a header block that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate_refused(error.verify_code)
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.TIMEOUT, Message("answer_timeout"))
    # A peer that closes the connection without a TLS close alert causes an SSLError too, but TLS did not fail.
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return NoAnswer(ErrorCode.TLS_FAILED, Message("tls_failed"))
    if isinstance(error, OSError | RemoteDisconnected):
        return NoAnswer(ErrorCode.RESET, Message("connection_closed"))
    return NoAnswer(ErrorCode.PROTOCOL_ERROR, Message("answer_not_http"))


def result_of_error(error: Exception) -> tuple[Result, str]:
    """Return the result of an attempt that raised this error, and for an unexpected error the name of its class.

    Neither contains the text or the traceback of an unexpected error, which may quote the URL or a header's value.
    """
    if isinstance(error, NoAnswer):
        return Result(error_code=error.code, detail=error.detail), ""
    if isinstance(error, EndpointUrlError):
        return Result(error_code=ErrorCode.URL_REFUSED, detail=message_of(error)), ""
    if isinstance(error, DestinationRefused):
        return Result(error_code=ErrorCode.ADDRESS_REFUSED, detail=message_of(error)), ""
    unexpected = Result(error_code=ErrorCode.UNEXPECTED, detail=Message("attempt_unexpected"))
    return unexpected, type(error).__qualname__


def log_unexpected(class_name: str) -> None:
    """Log the class of an unexpected error. Does nothing for an empty name."""
    if class_name:
        logger.error("A push could not be sent: %s.", class_name)
