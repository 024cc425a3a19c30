"""The default transport, on ``requests`` and ``urllib3``.

It uses the adapter of ``requests`` without a session, because a session adds redirects, cookies, and the proxies and
``.netrc`` of the environment. The connections are our subclass of urllib3's: they connect only to permitted addresses,
stop writing after the deadline of the start, and are shut down when the total time is over. :func:`missing_seams` lists
the methods of both libraries that this module overrides or calls.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import ssl
import threading
from contextvars import ContextVar
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util import wait_for_read, wait_for_write

from live_push.exceptions import DestinationRefused
from live_push.rules.messages import Message
from live_push.rules.result import ErrorCode, Result

from . import tls
from .answer import NoFirstByteError, StrictResponse, read_body
from .conditions import HEADERS_OF_HTTP, MOST_AGE_SECONDS, MOST_IDLE_SECONDS, current_conditions
from .dialling import dial
from .guard import AddressGuard
from .no_answer import (
    NoAnswer,
    StaleConnection,
    connect_failed,
    exchange_failed,
    log_unexpected,
    refuse_if_late,
    result_of_error,
)
from .request import Request, Transport
from .watchdog import Deadline, watchdog

__all__ = ["Request", "RequestsTransport", "Transport", "missing_seams"]

MOST_HOSTS: Final = 128
MOST_CONNECTIONS_TO_A_HOST: Final = 1000
RECORD_BYTES: Final = 16 * 1024
"""The maximum size of a TLS record (RFC 8446, section 5.1). The peer can decrypt a record only when it is complete."""


@dataclass
class _Progress:
    """The progress of an attempt."""

    request_written: bool = False
    must_dial: bool = False


@dataclass(frozen=True)
class _Attempt:
    """What a connection needs to know about the attempt that uses it."""

    guard: AddressGuard
    deadline: Deadline
    connect_seconds: float
    header_names: frozenset[str]
    request: Request
    progress: _Progress


_attempt: ContextVar[_Attempt] = ContextVar("live_push_attempt")


class _WithoutPaths(logging.Filter):
    """Removes path and query from urllib3's log records about our requests, because they may contain a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _attempt.get(None) is not None and isinstance(record.args, tuple):
            record.args = tuple("/…" if str(arg).startswith("/") else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutPaths())


class RequestsTransport:
    """Sends with ``requests``. All threads share the kept-alive connections.

    So a client never has more connections than it had requests at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adapter: tuple[tuple[object, ...], GuardedAdapter] | None = None

    def send(self, request: Request) -> Result:
        """Make one attempt within the total time and return its result. Never raises."""
        started = monotonic()
        progress = _Progress()
        unexpected = ""
        try:
            result = self._send(request, progress)
        except Exception as error:  # noqa: BLE001  (an attempt must end in a result, whatever the libraries raise)
            result, unexpected = result_of_error(error)
        # After the except block, because some log handlers record the handled exception and its local variables.
        log_unexpected(unexpected)
        duration_ms = round((monotonic() - started) * 1000)
        return replace(result, duration_ms=duration_ms, request_written=progress.request_written)

    def close(self) -> None:
        """Close idle connections. The transport stays usable."""
        with self._lock:
            if self._adapter is not None:
                self._adapter[1].close()

    def _send(self, request: Request, progress: _Progress) -> Result:
        conditions = current_conditions(request.url)
        adapter = self._adapter_for(conditions.guard, conditions.context)
        adapter.close_expired()
        names = HEADERS_OF_HTTP | {name.lower() for name in request.headers}
        with watchdog().deadline(conditions.total_seconds) as deadline:
            attempt = _Attempt(conditions.guard, deadline, conditions.connect_seconds, names, request, progress)
            token = _attempt.set(attempt)
            try:
                return adapter.post(conditions.url, request, conditions.total_seconds)
            finally:
                _attempt.reset(token)

    def _adapter_for(self, guard: AddressGuard, context: ssl.SSLContext) -> GuardedAdapter:
        # A connection is valid for the guard and the context that checked it, and two processes must not share it.
        key = (os.getpid(), guard, context)
        current = self._adapter
        if current is not None and current[0] == key:
            return current[1]
        with self._lock:
            if self._adapter is None or self._adapter[0] != key:
                if self._adapter is not None:
                    self._adapter[1].close()
                self._adapter = key, GuardedAdapter(context)
            return self._adapter[1]


class GuardedConnection(HTTPSConnection):
    """A connection to a permitted address, which the deadline of its attempt can shut down."""

    response_class = StrictResponse
    # If other code raises the level for all connections of the process, ours must not print our credentials.
    debuglevel = 0
    made_at = used_at = 0.0
    has_answered = False
    _unwritten: bytearray

    @property
    def is_connected(self) -> bool:
        """Return whether the connection can be used again. urllib3 calls this before each request."""
        if _attempt.get().progress.must_dial or self.is_expired(monotonic()):
            return False
        # Unrequested bytes would be taken for the next answer. urllib3 polls the socket, but not the buffer of TLS.
        return super().is_connected and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())

    def is_expired(self, now: float) -> bool:
        """Return whether the connection was idle for too long or is too old."""
        return now - self.used_at > MOST_IDLE_SECONDS or now - self.made_at > MOST_AGE_SECONDS

    def connect(self) -> None:
        """Connect and do the TLS handshake."""
        try:
            super().connect()
        except OSError as error:
            raise self._no_answer(error) from None
        self.made_at = self.used_at = monotonic()
        self.has_answered = False

    def _new_conn(self) -> socket.socket:
        attempt = _attempt.get()
        refuse_if_late(attempt.request.not_after)
        destinations = attempt.guard.resolve(self.host, self.port, attempt.deadline.seconds_left)
        return dial(
            destinations,
            connect_seconds=attempt.connect_seconds,
            deadline=attempt.deadline,
            not_after=attempt.request.not_after,
        )

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Write the request: headers and body with one write, if they fit into one TLS record."""
        attempt = _attempt.get()
        if not attempt.deadline.holds:
            attempt.deadline.hold(self.sock)
        if attempt.request.connection_info is not None:
            attempt.request.connection_info.certificate = tls.certificate_of(self.sock)
        self._unwritten = bytearray()
        try:
            super().request(*args, **kwargs)
            self._write(attempt)
        except OSError as error:
            reason = self._no_answer(error)
            if reason.code == ErrorCode.RESET:
                # The peer may have answered before it read everything. After this error, urllib3 reads that answer.
                raise BrokenPipeError from None
            raise reason from None
        finally:
            # The buffer contains credentials, and the connection may be idle for long.
            del self._unwritten

    def send(self, data: Any) -> None:
        """Buffer the pieces that ``http.client`` would write one by one."""
        self._unwritten += data

    def _write(self, attempt: _Attempt) -> None:
        # Each write must be a single try, with a check of the deadline before it. If the process is suspended during a
        # blocking write, the write would go on afterwards without a check.
        self.sock.setblocking(False)
        rest = memoryview(self._unwritten)
        while rest:
            refuse_if_late(attempt.request.not_after)
            try:
                rest = rest[self.sock.send(rest[:RECORD_BYTES]) :]
            except ssl.SSLWantWriteError:
                wait_for_write(self.sock, attempt.deadline.seconds_left)
            except ssl.SSLWantReadError:
                wait_for_read(self.sock, attempt.deadline.seconds_left)
        attempt.progress.request_written = True

    def putheader(self, header: Any, *values: Any) -> None:
        """Add a header if the request has it. Tools such as Sentry add more, which clients must not get."""
        name = header.decode("latin-1") if isinstance(header, bytes) else header
        if name.lower() in _attempt.get().header_names:
            super().putheader(header, *values)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Read the header block of the answer."""
        try:
            response = super().getresponse()
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            reason = self._no_answer(error)
            if self.has_answered and isinstance(error, NoFirstByteError) and reason.code == ErrorCode.RESET:
                raise StaleConnection from None
            raise reason from None
        self.used_at = monotonic()
        self.has_answered = True
        return response

    def _no_answer(self, error: Exception) -> NoAnswer:
        # If the deadline has shut the connection down, it is the cause of the error.
        return exchange_failed(TimeoutError() if _attempt.get().deadline.expired else error)


class GuardedPool(HTTPSConnectionPool):
    """Connections to one host."""

    ConnectionCls = GuardedConnection


class GuardedAdapter(HTTPAdapter):
    """The adapter of ``requests`` with one TLS context, and without proxies, cookies, plain HTTP and retries."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._expired_closed_at = monotonic()
        super().__init__(pool_connections=MOST_HOSTS, pool_maxsize=MOST_CONNECTIONS_TO_A_HOST)

    def post(self, url: str, request: Request, seconds: float) -> Result:
        """Send the request and read the answer. Raises the errors that :meth:`RequestsTransport.send` handles."""
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = "POST", url, request.body
        headers: Any = request.headers
        prepared.headers = CaseInsensitiveDict(headers)
        # Without a length the body would be sent in chunks. A compressed answer is not accepted, because a small one
        # could decompress to a huge one.
        prepared.headers.update({"Content-Length": str(len(request.body)), "Accept-Encoding": "identity"})
        progress = _attempt.get().progress
        try:
            try:
                response = self.send(prepared, stream=True, timeout=seconds)
            except StaleConnection:
                # A new connection is never stale, so a third try is not needed.
                progress.must_dial = True
                response = self.send(prepared, stream=True, timeout=seconds)
        # Our connections raise neither of these, but mocks in the tests of a host project do.
        except requests.Timeout:
            progress.request_written = True
            raise exchange_failed(TimeoutError()) from None
        except requests.ConnectionError:
            raise connect_failed(OSError()) from None
        body, complete = read_body(response.raw)
        if not complete:
            response.close()
        return Result(
            response.status_code,
            body=body,
            # If the deadline has shut the connection down, an answer without a length looks complete.
            body_complete=complete and not _attempt.get().deadline.expired,
            retry_after=response.raw.headers.get("Retry-After"),
        )

    def close_expired(self) -> None:
        """Close expired connections, every 4 s at most. After a burst there are many, each with a descriptor."""
        now = monotonic()
        if now - self._expired_closed_at < MOST_IDLE_SECONDS:
            return
        self._expired_closed_at = now
        pools = self.poolmanager.pools
        for idle in [pool.pool for key in pools.keys() if (pool := pools.get(key)) and pool.pool]:  # noqa: SIM118
            with idle.mutex:
                for connection in filter(None, idle.queue):
                    if connection.is_expired(now):
                        connection.close()

    def request_url(self, request: Any, proxies: Any) -> str:
        """Return path and query exactly as in the URL. ``requests`` would drop the ``?`` of an empty query."""
        return f"/{request.url.split('/', 3)[3]}"

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Create the pool manager."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)
        # Replace the dictionary, which all pool managers share. Without "http", plain HTTP is not possible.
        self.poolmanager.pool_classes_by_scheme = {"https": GuardedPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Refuse a proxy. It would resolve the name again, perhaps to an address that was not checked."""
        raise DestinationRefused(Message("proxy_refused"))

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Always verify, whatever ``verify`` is."""
        host, _ = super().build_connection_pool_key_attributes(request, verify=True)
        return host, {"cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing. The context has the authorities, and setting them here would load them for each connection."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """Return a response with the attributes that this module reads. Cookies are not extracted."""
        response = requests.Response()
        response.status_code, response.raw = resp.status, resp
        response.request, response.url = req, req.url
        return response


def missing_seams() -> list[str]:
    """Return the names that this module needs and that the installed libraries lack."""
    seams = {
        HTTPSConnection: (
            "_new_conn",
            "connect",
            "request",
            "send",
            "putheader",
            "getresponse",
            "is_connected",
            "response_class",
        ),
        HTTPSConnectionPool: ("ConnectionCls",),
        PoolManager: ("connection_from_host",),
        HTTPAdapter: (
            "build_connection_pool_key_attributes",
            "build_response",
            "cert_verify",
            "init_poolmanager",
            "request_url",
        ),
        urllib3.HTTPResponse: ("read1", "release_conn"),
        http.client.HTTPResponse: ("begin", "read1"),
    }
    missing = [
        f"{owner.__qualname__}.{name}" for owner, names in seams.items() for name in names if not hasattr(owner, name)
    ]
    # This is an attribute of the instances, not of the class.
    if not hasattr(PoolManager(), "pool_classes_by_scheme"):
        missing.append("PoolManager.pool_classes_by_scheme")
    return missing
