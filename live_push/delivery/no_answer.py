"""Why no answer arrived: an error of the network, TLS or HTTP turned into a code and a sentence of our own.

An exception's own text never goes further than this: it may hold a header's value, an address or a URL.
"""

from __future__ import annotations

import logging
import socket
import ssl
from http.client import RemoteDisconnected
from typing import Final

from live_push.exceptions import DestinationRefused, EndpointUrlError, LivePushError

from .result import ErrorCode, Result

logger = logging.getLogger("live_push.delivery")


class NoAnswer(LivePushError):  # noqa: N818  (it names the fact, as the public errors do)
    """The attempt ended before a complete header block arrived.

    ``code`` is one of :class:`~live_push.delivery.result.ErrorCode`, ``detail`` a sentence that is safe to store.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


# OpenSSL's x509_vfy.h; Python hands the number through without a name.
_CERTIFICATE_FAULTS: Final = {
    2: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    9: ErrorCode.TLS_EXPIRED,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: ErrorCode.TLS_EXPIRED,  # X509_V_ERR_CERT_HAS_EXPIRED
    18: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: ErrorCode.TLS_UNKNOWN_ISSUER,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    62: ErrorCode.TLS_WRONG_NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: ErrorCode.TLS_WRONG_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_CERTIFICATE_DETAILS: Final = {
    ErrorCode.TLS_UNKNOWN_ISSUER: "The certificate's issuer is not among the trusted authorities.",
    ErrorCode.TLS_EXPIRED: "The certificate has expired or is not valid yet.",
    ErrorCode.TLS_WRONG_NAME: "The certificate is for another host name.",
    ErrorCode.TLS_FAILED: "The certificate was not accepted.",
}


def while_looking_up(error: OSError) -> NoAnswer:
    """The name could not be resolved."""
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.DNS_TIMEOUT, "The name lookup took too long.")
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return NoAnswer(ErrorCode.DNS_FAILED, "The host name does not exist.")
    return NoAnswer(ErrorCode.DNS_FAILED, "The name lookup failed.")


def while_dialling(error: OSError) -> NoAnswer:
    """No connection to any of the addresses."""
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.CONNECT_TIMEOUT, "The connection was not accepted in time.")
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer(ErrorCode.CONNECT_REFUSED, "The connection was refused.")
    return NoAnswer(ErrorCode.CONNECT_FAILED, "The connection could not be made.")


def while_talking(error: Exception) -> NoAnswer:
    """The handshake, the request or the header block broke off."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = _CERTIFICATE_FAULTS.get(error.verify_code, ErrorCode.TLS_FAILED)
        return NoAnswer(code, _CERTIFICATE_DETAILS[code])
    if isinstance(error, TimeoutError):
        return NoAnswer(ErrorCode.TIMEOUT, "The answer did not come in time.")
    # A peer that hangs up without TLS's goodbye is an SSLError too, but no fault of the encryption.
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return NoAnswer(ErrorCode.TLS_FAILED, "The encrypted connection could not be agreed on.")
    if isinstance(error, OSError | RemoteDisconnected):
        return NoAnswer(ErrorCode.RESET, "The connection was closed before an answer.")
    return NoAnswer(ErrorCode.PROTOCOL_ERROR, "The answer is not valid HTTP.")


def told(error: Exception) -> tuple[Result, str]:
    """What an attempt that ended in this error is to the log, and the error's kind where nobody foresaw it.

    No text of an unforeseen one, no traceback: both may quote the URL or a header's value.
    """
    if isinstance(error, NoAnswer):
        return Result(error_code=error.code, detail=error.detail), ""
    if isinstance(error, EndpointUrlError):
        return Result(error_code=ErrorCode.URL_REFUSED, detail=str(error)), ""
    if isinstance(error, DestinationRefused):
        return Result(error_code=ErrorCode.ADDRESS_REFUSED, detail=str(error)), ""
    unforeseen = Result(error_code=ErrorCode.UNEXPECTED, detail="The attempt failed in an unforeseen way.")
    return unforeseen, type(error).__qualname__


def log_unforeseen(kind: str) -> None:
    """Say which kind of error nobody foresaw; nothing, where the kind is empty."""
    if kind:
        logger.error("A push could not be sent: %s.", kind)
