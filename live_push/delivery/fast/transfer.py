"""Send one request on one connection with libcurl: the options and the callbacks."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from live_push.delivery import tls
from live_push.delivery.answer import MOST_BODY_BYTES, MOST_FRAMING_BYTES
from live_push.delivery.conditions import HEADERS_OF_HTTP, MOST_AGE_SECONDS, MOST_IDLE_SECONDS, Conditions
from live_push.delivery.no_answer import (
    HOST_NAME_MISMATCH,
    NoAnswer,
    certificate_refused,
    exchange_failed,
    refuse_if_late,
)
from live_push.delivery.request import Certificate, Request
from live_push.delivery.resolver import Destination
from live_push.exceptions import DestinationRefused
from live_push.rules.messages import Message
from live_push.rules.networks import parse_address
from live_push.rules.result import ErrorCode, Result

from .answer import ABORT, AnswerParser
from .libcurl import pycurl

MOST_RAW_BYTES: Final = 3 * MOST_BODY_BYTES + MOST_FRAMING_BYTES
"""Limit for everything after the header block, including chunk sizes and trailers. It allows the longest body in chunks
of one byte.
"""

MOST_PIECES: Final = 100
"""The number of header lines and pieces of a body that are read before other transfers get their turn. Each one costs a
callback, and a client may send thousands.
"""

# The rules of http.client for names and values, except that a value must not continue on a second line.
_HEADER: Final = re.compile(rb"[^:\s][^:\r\n\0]*:[^\r\n\0]*")

_WEIRD_REPLY: Final = pycurl.E_FTP_WEIRD_SERVER_REPLY  # The older name of CURLE_WEIRD_SERVER_REPLY.
_TOO_LARGE: Final = 100  # CURLE_TOO_LARGE. pycurl has no name for it.
_NOT_HTTP: Final = frozenset({_WEIRD_REPLY, _TOO_LARGE, pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_WRITE_ERROR})
_BROKEN_OFF: Final = frozenset({pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING})
# If a kept connection was closed, libcurl tries another one by itself. Our callbacks refuse that with these errors.
_REPETITION_REFUSED: Final = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_ABORTED_BY_CALLBACK,
        pycurl.E_SEND_FAIL_REWIND,
    }
)
_NO_VERIFY_RESULT: Final = frozenset({0, 1})  # X509_V_OK, X509_V_ERR_UNSPECIFIED

# The values that our callbacks return to libcurl. The annotations are needed because pycurl has no types.
_NO_SOCKET: Final[int] = pycurl.SOCKET_BAD
_CONNECTED: Final[int] = pycurl.SOCKOPT_ALREADY_CONNECTED
_MAY_WRITE: Final[int] = pycurl.PREREQFUNC_OK
_MUST_NOT_WRITE: Final[int] = pycurl.PREREQFUNC_ABORT
_NOTHING_YET: Final[int] = pycurl.READFUNC_PAUSE
_NOTHING_MORE: Final[int] = pycurl.READFUNC_ABORT
_ASK_AGAIN: Final[int] = pycurl.WRITEFUNC_PAUSE

_TEXT, _HEADER_IN, _HEADER_OUT = pycurl.INFOTYPE_TEXT, pycurl.INFOTYPE_HEADER_IN, pycurl.INFOTYPE_HEADER_OUT
_DATA_IN, _DATA_OUT = pycurl.INFOTYPE_DATA_IN, pycurl.INFOTYPE_DATA_OUT

Options = list[tuple[int, Any]]


def common_options(context: ssl.SSLContext) -> Options:
    """Return the options of all transfers, except the trusted authorities."""
    return [
        (pycurl.POST, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.FOLLOWLOCATION, 0),
        # An empty text disables proxies. Without the option, libcurl would use those of the environment.
        (pycurl.PROXY, ""),
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.NOSIGNAL, 1),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        # The same ciphers as in the transport on requests.
        (pycurl.SSL_CIPHER_LIST, ":".join(cipher["name"] for cipher in context.get_ciphers())),
        (pycurl.SSL_ENABLE_ALPN, 0),
        (pycurl.CAPATH, None),
        # As in Python, an intermediate authority is trusted only together with its root.
        (pycurl.SSL_OPTIONS, pycurl.SSLOPT_NO_PARTIALCHAIN),
        # The certificate would not be verified again when a session is resumed.
        (pycurl.SSL_SESSIONID_CACHE, 0),
        (pycurl.MAXAGE_CONN, int(MOST_IDLE_SECONDS)),
        (pycurl.MAXLIFETIME_CONN, int(MOST_AGE_SECONDS)),
        # The smallest buffer, because libcurl reads up to eleven in a row, and other transfers wait meanwhile.
        (pycurl.BUFFERSIZE, 1024),
        # The size of a TLS record. The default uses four times the memory.
        (pycurl.UPLOAD_BUFFERSIZE, 16 * 1024),
        # Needed for the trace callback.
        (pycurl.VERBOSE, 1),
    ]


def header_lines(request: Request) -> list[bytes]:
    """Return the header lines for libcurl. Raises :class:`ValueError` for a header that can't be sent."""
    # A name without a value keeps libcurl from adding its own header.
    lines = {"accept": b"Accept:", "content-type": b"Content-Type:", "expect": b"Expect:", "user-agent": b"User-Agent:"}
    for name, value in request.headers.items():
        if name.lower() in HEADERS_OF_HTTP:
            continue
        raw = value.encode("latin-1") if isinstance(value, str) else value
        line = b"%b: %b" % (name.encode("latin-1"), raw)
        if not _HEADER.fullmatch(line):
            raise ValueError(Message("header_not_sendable"))
        # For libcurl, a semicolon after the name means an empty value.
        lines[name.lower()] = line if raw.strip() else line.partition(b":")[0] + b";"
    return [*lines.values(), b"Accept-Encoding: identity"]


class Transfer:
    """Sends a request on a kept-alive connection or, after :meth:`use`, on a new one.

    On a kept-alive connection, the TLS buffer may have unrequested bytes, which libcurl does not check for. They would
    be taken for the answer. So the body is held back until libcurl has written the headers and has tried to read. Any
    byte that arrives before the body is sent ends the transfer, and no server processes a request without its body.

    A transfer can be started again with another request, unless it was used with a new connection.

    ``request_written``
        Whether the last byte of the request was handed to the operating system.
    ``is_overflowing``
        Whether the peer has sent more than :data:`MOST_RAW_BYTES` after the header block.
    """

    def __init__(self, options: Options) -> None:
        self.curl = pycurl.Curl()
        self._connection: socket.socket | None = None
        self._is_new = self._has_literal_host = self._names_common_name = False
        for option, value in options:
            self.curl.setopt(option, value)
        for option, callback in [
            (pycurl.RESOLVER_START_FUNCTION, self._resolve),
            (pycurl.OPENSOCKETFUNCTION, self._open_socket),
            (pycurl.SOCKOPTFUNCTION, self._prepare_socket),
            (pycurl.PREREQFUNCTION, self._may_write),
            (pycurl.READFUNCTION, self._read_body),
            (pycurl.HEADERFUNCTION, self._take_header),
            (pycurl.WRITEFUNCTION, self._take_body),
            (pycurl.DEBUGFUNCTION, self._trace),
        ]:
            self.curl.setopt(option, callback)

    def start(
        self,
        request: Request,
        conditions: Conditions,
        seconds: float,
        *,
        watch: Callable[[], object],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        """Prepare the request for libcurl. Raises :class:`ValueError` for a header that can't be sent.

        ``watch`` is called when the caller must check :meth:`is_late`, :meth:`go_on` and ``is_overflowing`` from then
        on. ``later`` is called with a function that must run after other transfers had their turn.
        """
        self._request, self._guard, self._watch, self._later = request, conditions.guard, watch, later
        self._answer = AnswerParser()
        self.request_written = self.is_overflowing = False
        self._is_writing = self._is_held = self._waits_for_body = False
        self._refusal: Exception | None = None
        self._unread = self._unwritten = len(request.body)
        self._raw_bytes = self._pieces = 0
        self.curl.setopt(pycurl.URL, conditions.url)
        self.curl.setopt(pycurl.HTTPHEADER, header_lines(request))
        self.curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(request.body))
        self.curl.setopt(pycurl.TIMEOUT_MS, max(int(seconds * 1000), 1))
        if request.connection_info is not None:
            self.curl.setopt(pycurl.OPT_CERTINFO, 1)

    def use(self, connection: socket.socket, destination: Destination, *, host: str) -> None:
        """Use this new connection."""
        self._connection, self._is_new = connection, True
        self._has_literal_host = parse_address(host) is not None
        address, port = destination.sockaddr[:2]
        self.curl.setopt(pycurl.FRESH_CONNECT, 1)
        if not self._has_literal_host:
            # libcurl requires an address, although the socket is connected already.
            self.curl.setopt(pycurl.RESOLVE, [f"+{host}:{port}:{address}"])

    def is_late(self) -> bool:
        """Return whether the deadline of the start has passed. Then :meth:`result` raises the error."""
        try:
            refuse_if_late(self._request.not_after)
        except NoAnswer as refusal:
            self._refusal = refusal
            return True
        return False

    def go_on(self) -> None:
        """Let libcurl write the body, if it waits for it and the deadline has not passed."""
        if self._waits_for_body and not self.is_late():
            self._waits_for_body = self._is_held = False
            try:
                self.curl.pause(pycurl.PAUSE_CONT)
            except pycurl.error:
                # The transfer has ended already.
                self._is_held = True

    def _read_on(self, answer: AnswerParser) -> None:
        # If the answer is another one, the transfer that asked for this call has ended.
        if answer is self._answer:
            self._pieces = 0
            with suppress(pycurl.error):
                self.curl.pause(pycurl.PAUSE_CONT)

    def wants_new_connection(self, code: int) -> bool:
        """Return whether there was no kept-alive connection, or none that could be used."""
        if self._is_new or self._refusal is not None or code == pycurl.E_OPERATION_TIMEDOUT:
            return False
        if self._is_held or not self._is_writing:
            return True
        return not self._answer.has_begun and (code in _BROKEN_OFF or code in _REPETITION_REFUSED)

    def result(self, code: int, message: str) -> Result:
        """Return the result, or raise the reason why no answer came. libcurl's code is 0 for success."""
        if self._refusal is not None:
            raise self._refusal
        answer = self._answer
        if code == _WEIRD_REPLY and "Content-Length" in message:
            answer.take_unusable_length()
        if answer.status is None:
            raise self._no_answer(code, message)
        is_complete = code == 0 or (answer.ends_with_connection and code in _BROKEN_OFF and _is_eof(message))
        return Result(answer.status, body=bytes(answer.body), body_complete=is_complete, retry_after=answer.retry_after)

    def certificate(self) -> Certificate | None:
        """Return the verified certificate of a new connection; ``None`` if the handshake failed."""
        chain = self.curl.getinfo(pycurl.INFO_CERTINFO) if self._is_writing else []
        return tls.certificate_in(dict(chain[0])["Cert"]) if chain else None

    def _no_answer(self, code: int, message: str) -> Exception:
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return exchange_failed(TimeoutError())
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            verify_code = self.curl.getinfo(pycurl.SSL_VERIFYRESULT)
            # libcurl compares the host name first, and reads the result of OpenSSL only if the name matches.
            return certificate_refused(HOST_NAME_MISMATCH if verify_code in _NO_VERIFY_RESULT else verify_code)
        if code == pycurl.E_SSL_CONNECT_ERROR:
            broke_off = _is_eof(message) or self.curl.getinfo(pycurl.OS_ERRNO)
            return exchange_failed(OSError() if broke_off else ssl.SSLError())
        if self._answer.has_begun or code in _NOT_HTTP:
            return exchange_failed(ValueError())
        if code in _BROKEN_OFF:
            return exchange_failed(ssl.SSLError() if "alert" in message else OSError())
        if code == pycurl.E_SSL_CACERT_BADFILE:
            return NoAnswer(ErrorCode.MISCONFIGURED, Message("certificates_unreadable"))
        unexpected: Exception = pycurl.error(code)
        return unexpected

    # The callbacks. They must not raise, because pycurl would print the error.

    def _resolve(self) -> int:
        # libcurl also calls this for a literal address, for which it resolves nothing.
        return 0 if self._has_literal_host else 1

    def _open_socket(self, _purpose: int, address: Any) -> int:
        connection, self._connection = self._connection, None
        if connection is None:
            return _NO_SOCKET
        if not self._guard.permits(address.addr[0]):
            self._refusal = DestinationRefused(Message("address_refused"))
            return _NO_SOCKET
        return connection.detach()

    def _prepare_socket(self, _descriptor: int, _purpose: int) -> int:
        return _CONNECTED

    def _may_write(self, *_addresses: object) -> int:
        # If a kept connection was closed, libcurl would send the request again by itself.
        if self._is_writing:
            return _MUST_NOT_WRITE
        if self._names_common_name:
            self._refusal = certificate_refused(HOST_NAME_MISMATCH)
        if self._refusal is not None or self.is_late():
            return _MUST_NOT_WRITE
        self._is_writing, self._is_held = True, not self._is_new
        self._watch()
        return _MAY_WRITE

    def _read_body(self, size: int) -> bytes | int:
        if self._is_held:
            self._waits_for_body = True
            return _NOTHING_YET
        if self.is_late():
            return _NOTHING_MORE
        start = len(self._request.body) - self._unread
        piece = self._request.body[start : start + size]
        self._unread -= len(piece)
        return piece

    def _take_header(self, line: bytes) -> int | None:
        if self._is_held:
            return ABORT
        return _ASK_AGAIN if self._must_yield() else self._answer.take_header(line)

    def _take_body(self, data: bytes) -> int | None:
        return _ASK_AGAIN if self._must_yield() else self._answer.take_body(data)

    def _must_yield(self) -> bool:
        self._pieces += 1
        if self._pieces <= MOST_PIECES:
            return False
        if self._pieces == MOST_PIECES + 1:
            self._later(partial(self._read_on, self._answer))
        return True

    def _trace(self, kind: int, data: bytes) -> None:
        if kind == _DATA_OUT:
            self._unwritten -= len(data)
            self.request_written |= self._unwritten == 0
        elif kind == _HEADER_OUT:
            self.request_written |= self._unwritten == 0 and data.endswith(b"\r\n\r\n")
        elif kind == _HEADER_IN:
            # Unlike the callback for headers, this one also gets an incomplete line.
            self._answer.has_begun = True
        elif kind == _DATA_IN:
            self._raw_bytes += len(data)
            if self._raw_bytes > MOST_RAW_BYTES:
                self.is_overflowing = True
                self._watch()
        elif kind == _TEXT and self._is_new and data.lstrip().startswith(b"common name:"):
            # Without a list of names, libcurl accepts the common name, which the name constraints don't cover.
            self._names_common_name = True


def _is_eof(message: str) -> bool:
    """Return whether libcurl's message says that the peer closed the connection, with or without a TLS close alert."""
    return "unexpected eof" in message or "closed abruptly" in message
