"""A scripted https server in the role of a client's endpoint, with its own certificate authority, for tests. ::

    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        server.script([503, Answer(200, b'{"third_party_id": "T-1"}')])
        ...  # Push to server.url.
        first, second = server.wait_for(2)

It listens on the loopback interface by default. Do not use it as a server for anything else.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, parse_headers, responses
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from .certificate_authority import CertificateAuthority, server_context

MAX_LINE_BYTES: Final = 64 * 1024
"""Maximum length of the request line that is read, in bytes."""


@dataclass(frozen=True)
class Received:
    """One request that the server received.

    ``number``
        The number of the request in order of arrival, over all connections, from 1.
    ``connection``
        The number of its connection, from 1.
    ``headers``
        The headers; their names are in lower case.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.body)


class Exchange:
    """A request that waits for its answer, with the operations for a :data:`Behaviour`."""

    def __init__(self, received: Received, connection: ssl.SSLSocket, stopping: threading.Event) -> None:
        self.received = received
        self.is_over = False
        self._connection = connection
        self._stopping = stopping

    def respond(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a complete answer, as JSON unless ``headers`` say otherwise."""
        lines = {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.write(f"HTTP/1.1 {status} {responses.get(status, 'Odd')}\r\n{head}\r\n".encode("latin-1") + body)

    def write(self, data: bytes) -> None:
        """Send bytes unchanged. Raises :class:`OSError` if the other side has closed the connection."""
        self._connection.sendall(data)

    def wait(self, event: threading.Event | None = None, seconds: float = 60) -> None:
        """Wait for the event, but at most this many seconds. Without an event, wait for the time alone.

        The waiting ends at once when the server stops.
        """
        # Wait in slices of 20 ms, because the standard library can't wait for two events at the same time.
        while event is not None and seconds > 0 and not self._stopping.is_set():
            if event.wait(0.02):
                return
            seconds -= 0.02
        if event is None:
            self._stopping.wait(seconds)

    def close(self) -> None:
        """Close the connection when the behaviour returns."""
        self.is_over = True

    def reset(self) -> None:
        """Close the connection by a TCP reset when the behaviour returns."""
        # SO_LINGER with a time of 0 makes close() send a reset; see socket(7).
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_over = True


Behaviour = Callable[[Exchange], None]
"""A function that handles a request: it may answer, wait, or close the connection."""


@dataclass(frozen=True)
class Answer:
    """A behaviour that sends an answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> None:
        exchange.respond(self.status, self.body, self.headers)


class Hold:
    """A behaviour that waits until :meth:`release` is called, then does ``then``; by default it answers 200."""

    def __init__(self, then: Behaviour | None = None) -> None:
        self._then: Behaviour = then or Answer()
        self._released = threading.Event()

    def release(self) -> None:
        """End the waiting of all requests, present and future."""
        self._released.set()

    def __call__(self, exchange: Exchange) -> None:
        exchange.wait(self._released)
        self._then(exchange)


class Reset:
    """A behaviour that resets the connection after the request was received, without an answer."""

    def __call__(self, exchange: Exchange) -> None:
        exchange.reset()


class EndpointServer:
    """A client's endpoint on this machine. Start it with ``with`` or :meth:`start`.

    ``host``, ``port``
        The address on which it listens; port 0 selects a free port.
    ``names``
        Further host names for the certificate, besides ``host``, ``localhost`` and the loopback addresses.
    ``authority``
        The certificate authority that issues the certificate; by default a new one.
    ``context``
        Replaces the TLS context, to test a faulty certificate or protocol.

    The answer is 200 without a body until :meth:`answer`, :meth:`behave` or :meth:`script` say otherwise.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Iterable[str] = (),
        authority: CertificateAuthority | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="live_push_")
        authority = authority or CertificateAuthority()
        self.ca_bundle = str(Path(self._folder.name) / "authority.pem")
        Path(self.ca_bundle).write_bytes(authority.pem)
        self._context = context or server_context(authority.issue({"localhost", "127.0.0.1", "::1", host, *names}))
        self._host = host
        self._listener = socket.create_server((host, port), family=_family(host), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._script: deque[Behaviour] = deque()
        self._default: Behaviour = Answer()
        self._connections = 0
        self._open: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept, name="endpoint-server", daemon=True)

    # The interface for tests

    @property
    def url(self) -> str:
        """Return the URL on which the server listens, such as ``https://127.0.0.1:40123/``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self.port}/"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings, keys of ``LIVE_PUSH``, with which pushes can reach the server."""
        return {
            "CA_BUNDLE": self.ca_bundle,
            "ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8", "::1/128"],
            "ALLOWED_PORTS": None,
        }

    @property
    def received(self) -> list[Received]:
        """Return all requests so far, in order of arrival."""
        with self._changed:
            return list(self._received)

    @property
    def connections(self) -> int:
        """Return the number of connections so far, including those without a request."""
        with self._changed:
            return self._connections

    def answer(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send this answer to all requests for which the script has no step."""
        self.behave(Answer(status, body, headers or {}))

    def behave(self, behaviour: Behaviour) -> None:
        """Do this with all requests for which the script has no step."""
        with self._changed:
            self._default = behaviour

    def script(self, steps: Iterable[Behaviour | int]) -> None:
        """Add steps to the script: each is done with one of the next requests. A number is the status of an answer."""
        with self._changed:
            self._script.extend(Answer(step) if isinstance(step, int) else step for step in steps)

    def wait_for(self, count: int, timeout: float = 10) -> list[Received]:
        """Wait for this number of requests, then return all requests so far.

        Raises :class:`TimeoutError` if they don't arrive within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) >= count, timeout):
                raise TimeoutError(f"{len(self._received)} requests came within {timeout} s, not {count}.")
            return list(self._received)

    def clear(self) -> None:
        """Remove the requests so far; the next request has the number 1."""
        with self._changed:
            self._received.clear()

    def start(self) -> EndpointServer:
        """Start listening, and return the server."""
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close all connections and stop the server."""
        self._stopping.set()
        self._wake.send(b"x")
        self._acceptor.join()
        for opened in (self._listener, self._wake, self._woken):
            opened.close()
        with self._changed:
            open_connections = dict(self._open)
        for thread, connection in open_connections.items():
            with suppress(OSError):
                # SSLSocket.shutdown() would discard the TLS session while the thread still reads from it.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()
        self._folder.cleanup()

    def __enter__(self) -> EndpointServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # The implementation: one thread accepts connections, and each connection has its own thread.

    def _accept(self) -> None:
        while not self._stopping.is_set():
            ready, _, _ = select.select([self._listener, self._woken], [], [])
            if self._listener not in ready:
                continue
            accepted, _ = self._listener.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                connection = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            except OSError:
                # The other side has closed the connection already.
                accepted.close()
                continue
            with self._changed:
                self._connections += 1
                thread = threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True)
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection: ssl.SSLSocket, number: int) -> None:
        # The other side may close the connection, send something else than HTTP, or refuse the certificate. A test
        # looks at these failures on its own side.
        with suppress(OSError, ValueError, HTTPException), connection:
            connection.do_handshake()
            with connection.makefile("rb") as stream:
                while (received := self._read(stream, number)) is not None:
                    exchange = Exchange(received, connection, self._stopping)
                    self._next_step()(exchange)
                    if exchange.is_over:
                        break
        with self._changed:
            self._open.pop(threading.current_thread(), None)

    def _read(self, stream: BinaryIO, connection: int) -> Received | None:
        line = stream.readline(MAX_LINE_BYTES).decode("latin-1")
        if not line:
            return None
        method, path, _ = line.split()
        headers = {name.lower(): value for name, value in parse_headers(stream).items()}
        length = int(headers.get("content-length", "0"))
        body = stream.read(length)
        if len(body) < length:
            # A truncated request does not count.
            return None
        with self._changed:
            received = Received(len(self._received) + 1, connection, method, path, headers, body)
            self._received.append(received)
            self._changed.notify_all()
        return received

    def _next_step(self) -> Behaviour:
        with self._changed:
            return self._script.popleft() if self._script else self._default


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
