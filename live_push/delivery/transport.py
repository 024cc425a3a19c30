"""The only place that talks to clients: bytes in, :class:`~live_push.delivery.result.Result` out.

``requests`` on ``urllib3``, but only the adapter of the former: what a session adds (redirects, cookies, and the
environment's proxies and ``.netrc``) must not happen here, so there is no session. The seams of both libraries that
this hangs on are listed by :func:`missing_seams`.
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

from live_push.exceptions import DestinationRefused

from . import tls
from .address_guard import AddressGuard
from .conditions import HEADERS_OF_HTTP, MOST_AGE_SECONDS, MOST_IDLE_SECONDS, conditions
from .dialling import dial
from .http_answer import StrictResponse, read_body
from .no_answer import NoAnswer, log_unforeseen, told, while_dialling, while_talking
from .request import Request, Transport, Witness
from .result import Result
from .watchdog import Deadline, watchdog

__all__ = ["Request", "RequestsTransport", "Transport", "missing_seams"]

MOST_HOSTS: Final = 128
MOST_CONNECTIONS_TO_A_HOST: Final = 1000


@dataclass(frozen=True)
class _Attempt:
    """What a connection must know of the attempt that it serves."""

    guard: AddressGuard
    deadline: Deadline
    connect_seconds: float
    header_names: frozenset[str]
    witness: Witness | None = None


_attempt: ContextVar[_Attempt] = ContextVar("live_push_attempt")


class _WithoutPaths(logging.Filter):
    """Leaves path and query out of what urllib3 says about our requests: either may hold a token of the client's."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _attempt.get(None) is not None and isinstance(record.args, tuple):
            record.args = tuple("/…" if str(arg).startswith("/") else arg for arg in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutPaths())


class RequestsTransport:
    """Sends with ``requests``. Connections are kept alive and shared by all threads, so that there are never more to
    a client than it has requests at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adapter: tuple[tuple[object, ...], GuardedAdapter] | None = None

    def send(self, request: Request) -> Result:
        """Make one attempt within the total time; never raises."""
        started = monotonic()
        fault = ""
        try:
            result = self._send(request)
        except Exception as error:  # noqa: BLE001  (an attempt must end in a result, whatever the libraries raise)
            result, fault = told(error)
        # Not while the error is in sight, because there are log handlers that show local variables.
        log_unforeseen(fault)
        return replace(result, duration_ms=round((monotonic() - started) * 1000))

    def close(self) -> None:
        """Close idle connections. The transport stays usable."""
        with self._lock:
            if self._adapter is not None:
                self._adapter[1].close()

    def _send(self, request: Request) -> Result:
        now = conditions(request.url)
        adapter = self._adapter_for(now.guard, now.context)
        adapter.close_stale()
        names = HEADERS_OF_HTTP | {name.lower() for name in request.headers}
        with watchdog().deadline(now.total_seconds) as deadline:
            attempt = _Attempt(now.guard, deadline, now.connect_seconds, names, request.witness)
            token = _attempt.set(attempt)
            try:
                return adapter.post(now.url, request, now.total_seconds)
            finally:
                _attempt.reset(token)

    def _adapter_for(self, guard: AddressGuard, context: ssl.SSLContext) -> GuardedAdapter:
        # A connection was judged by one guard and verified by one context, and two processes must not share it.
        key = (os.getpid(), guard, context)
        known = self._adapter
        if known is not None and known[0] == key:
            return known[1]
        with self._lock:
            if self._adapter is None or self._adapter[0] != key:
                if self._adapter is not None:
                    self._adapter[1].close()
                self._adapter = key, GuardedAdapter(context)
            return self._adapter[1]


class GuardedConnection(HTTPSConnection):
    """A connection to a judged address, which the deadline of its attempt can cut."""

    response_class = StrictResponse
    # Whoever raises the level for all connections of the process would print our credentials.
    debuglevel = 0
    made_at = used_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether the connection serves for one more request; urllib3 asks before each."""
        if self.is_stale(monotonic()):
            return False
        # Bytes that nobody asked for would pass for the next answer; TLS keeps some where polling can't see them.
        return super().is_connected and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())

    def is_stale(self, now: float) -> bool:
        """Whether it was idle for too long, or is too old."""
        return now - self.used_at > MOST_IDLE_SECONDS or now - self.made_at > MOST_AGE_SECONDS

    def connect(self) -> None:
        """Connect and agree on encryption."""
        try:
            super().connect()
        except OSError as error:
            raise self._no_answer(error) from None
        self.made_at = self.used_at = monotonic()

    def _new_conn(self) -> socket.socket:
        attempt = _attempt.get()
        destinations = attempt.guard.resolve(self.host, self.port, attempt.deadline.seconds_left)
        return dial(destinations, connect_seconds=attempt.connect_seconds, deadline=attempt.deadline)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send."""
        attempt = _attempt.get()
        if not attempt.deadline.holds:
            attempt.deadline.hold(self.sock)
        if attempt.witness is not None:
            attempt.witness.certificate = tls.certificate_of(self.sock)
        try:
            super().request(*args, **kwargs)
        except (BrokenPipeError, ConnectionResetError):
            # The peer may have answered before it had read everything; urllib3 looks for that answer.
            raise
        except OSError as error:
            raise self._no_answer(error) from None

    def putheader(self, header: Any, *values: Any) -> None:
        """Add a header of the request's; what instruments of this process add (Sentry, say) tells clients of us."""
        name = header.decode("latin-1") if isinstance(header, bytes) else header
        if name.lower() in _attempt.get().header_names:
            super().putheader(header, *values)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Read the header block."""
        try:
            response = super().getresponse()
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            raise self._no_answer(error) from None
        self.used_at = monotonic()
        return response

    def _no_answer(self, error: Exception) -> NoAnswer:
        # What a cut connection looks like from inside says nothing about the client.
        return while_talking(TimeoutError() if _attempt.get().deadline.expired else error)


class GuardedPool(HTTPSConnectionPool):
    """Connections to one host."""

    ConnectionCls = GuardedConnection


class GuardedAdapter(HTTPAdapter):
    """``requests``' adapter on one TLS context, without proxies, cookies, plain HTTP and retries."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._tidied_at = monotonic()
        super().__init__(pool_connections=MOST_HOSTS, pool_maxsize=MOST_CONNECTIONS_TO_A_HOST)

    def post(self, url: str, request: Request, seconds: float) -> Result:
        """Send, and read the answer. Raises what :meth:`RequestsTransport.send` turns into results."""
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = "POST", url, request.body
        headers: Any = request.headers
        prepared.headers = CaseInsensitiveDict(headers)
        # Without a length the body would be sent in chunks. Nothing packed is asked for, because little may unpack
        # to much.
        prepared.headers.update({"Content-Length": str(len(request.body)), "Accept-Encoding": "identity"})
        try:
            response = self.send(prepared, stream=True, timeout=seconds)
        # Our own connections raise neither; what takes their place in a host's tests does.
        except requests.Timeout:
            raise while_talking(TimeoutError()) from None
        except requests.ConnectionError:
            raise while_dialling(OSError()) from None
        body, complete = read_body(response.raw)
        if not complete:
            response.close()
        return Result(
            response.status_code,
            body=body,
            # Where the deadline cut the connection, an answer without a length seems to end there.
            body_complete=complete and not _attempt.get().deadline.expired,
            retry_after=response.raw.headers.get("Retry-After"),
        )

    def close_stale(self) -> None:
        """Close what won't be used again; looks seldom. After a burst there are many, and each holds a descriptor."""
        now = monotonic()
        if now - self._tidied_at < MOST_IDLE_SECONDS:
            return
        self._tidied_at = now
        pools = self.poolmanager.pools
        for idle in [pool.pool for key in pools.keys() if (pool := pools.get(key)) and pool.pool]:  # noqa: SIM118
            with idle.mutex:
                for connection in filter(None, idle.queue):
                    if connection.is_stale(now):
                        connection.close()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the manager of the pools."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)
        # A new dictionary, because the old one is urllib3's own, for everyone. Plain HTTP is not in it.
        self.poolmanager.pool_classes_by_scheme = {"https": GuardedPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """There is no proxy: it would resolve the name, and the judged address would not be the one connected to."""
        raise DestinationRefused("The destination is a proxy.")

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Whatever ``verify`` says, it is verified."""
        host, _ = super().build_connection_pool_key_attributes(request, verify=True)
        return host, {"cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context knows the authorities; to name them here would load them for each connection."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """Only what is read here: cookies are not."""
        response = requests.Response()
        response.status_code, response.raw = resp.status, resp
        response.request, response.url = req, req.url
        return response


def missing_seams() -> list[str]:
    """Names that this module hangs on and that the installed libraries lack; empty where all is well."""
    seams = {
        HTTPSConnection: (
            "_new_conn",
            "connect",
            "request",
            "putheader",
            "getresponse",
            "is_connected",
            "response_class",
        ),
        HTTPSConnectionPool: ("ConnectionCls",),
        PoolManager: ("connection_from_host",),
        HTTPAdapter: ("build_connection_pool_key_attributes", "build_response", "cert_verify", "init_poolmanager"),
        urllib3.HTTPResponse: ("read1", "release_conn"),
        http.client.HTTPResponse: ("begin",),
    }
    found = [
        f"{owner.__qualname__}.{name}" for owner, names in seams.items() for name in names if not hasattr(owner, name)
    ]
    # Set on each manager, not on the class.
    return found if hasattr(PoolManager(), "pool_classes_by_scheme") else [*found, "PoolManager.pool_classes_by_scheme"]
