"""A scripted https receiver with its own certificate authority: the client's side, for tests and trials.

    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        server.script([503, Answer(200, b'{"third_party_id": "T-1"}')])
        ...  # something that pushes to server.url
        first, second = server.wait_for(2)

It listens on this machine only and is no server for anything else.
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

MOST_LINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Received:
    """One request as it came in.

    ``number``
        Order of arrival over all connections, from 1.
    ``connection``
        Number of the connection it came by, from 1.
    ``headers``
        Names in lower case.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Exchange:
    """A request that waits for its answer; what a behaviour works with."""

    def __init__(self, received: Received, connection: ssl.SSLSocket, stopping: threading.Event) -> None:
        self.received = received
        self.is_over = False
        self._connection = connection
        self._stopping = stopping

    def respond(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer."""
        lines = {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.write(f"HTTP/1.1 {status} {responses.get(status, 'Odd')}\r\n{head}\r\n".encode("latin-1") + body)

    def write(self, data: bytes) -> None:
        """Send bytes as they are. Raises :class:`OSError` where the other side has hung up."""
        self._connection.sendall(data)

    def wait(self, event: threading.Event | None = None, seconds: float = 60) -> None:
        """Wait for the event, if any, at most that long; ends at once when the server stops."""
        # In slices, because nothing in the standard library waits for two events.
        while event is not None and seconds > 0 and not self._stopping.is_set():
            if event.wait(0.02):
                return
            seconds -= 0.02
        if event is None:
            self._stopping.wait(seconds)

    def close(self) -> None:
        """Hang up once the behaviour returns."""
        self.is_over = True

    def reset(self) -> None:
        """Hang up in the rudest way: TCP's reset instead of its goodbye."""
        # Linger for no time: struct linger of SO_LINGER in socket(7).
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_over = True


Behaviour = Callable[[Exchange], None]


@dataclass(frozen=True)
class Answer:
    """Answers."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> None:
        exchange.respond(self.status, self.body, self.headers)


class Hold:
    """Lets the client wait until :meth:`release` is called, then goes on as ``then`` says."""

    def __init__(self, then: Behaviour | None = None) -> None:
        self._then: Behaviour = then or Answer()
        self._released = threading.Event()

    def release(self) -> None:
        """Let all that wait here go on."""
        self._released.set()

    def __call__(self, exchange: Exchange) -> None:
        exchange.wait(self._released)
        self._then(exchange)


class Reset:
    """Cuts the connection instead of answering, though the request was received."""

    def __call__(self, exchange: Exchange) -> None:
        exchange.reset()


class EndpointServer:
    """A client's endpoint on this machine. Start it with ``with`` or :meth:`start`.

    ``names``
        Host names that the certificate is for, besides ``localhost`` and the loopback addresses.
    ``authority``
        Issues the certificate; one of its own unless given.
    ``context``
        Replaces the TLS context, for servers whose certificate or protocol is at fault.
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

    # What a test uses

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self.port}/"

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of ``LIVE_PUSH`` that let a push come here."""
        return {
            "CA_BUNDLE": self.ca_bundle,
            "ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8", "::1/128"],
            "ALLOWED_PORTS": None,
        }

    @property
    def received(self) -> list[Received]:
        """All requests so far, in order of arrival."""
        with self._changed:
            return list(self._received)

    @property
    def connections(self) -> int:
        """How many connections were accepted so far, also those that brought no request."""
        with self._changed:
            return self._connections

    def answer(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """How to answer whatever the script says nothing about; 200 without a body to begin with."""
        self.behave(Answer(status, body, headers or {}))

    def behave(self, behaviour: Behaviour) -> None:
        """What to do with whatever the script says nothing about."""
        with self._changed:
            self._default = behaviour

    def script(self, steps: Iterable[Behaviour | int]) -> None:
        """What to do with the next requests, one step each; a number is the status of an answer."""
        with self._changed:
            self._script.extend(Answer(step) if isinstance(step, int) else step for step in steps)

    def wait_for(self, count: int, timeout: float = 10) -> list[Received]:
        """All requests so far, once there are that many. Raises :class:`TimeoutError` where they don't come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._received) >= count, timeout):
                raise TimeoutError(f"{len(self._received)} requests came within {timeout} s, not {count}.")
            return list(self._received)

    def clear(self) -> None:
        """Forget the requests so far; numbers begin anew."""
        with self._changed:
            self._received.clear()

    def start(self) -> EndpointServer:
        """Begin to listen."""
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Hang up on everybody and end."""
        self._stopping.set()
        self._wake.send(b"x")
        self._acceptor.join()
        for opened in (self._listener, self._wake, self._woken):
            opened.close()
        with self._changed:
            open_connections = dict(self._open)
        for thread, connection in open_connections.items():
            with suppress(OSError):
                # Not the method of SSLSocket, which would take TLS away from under the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()
        self._folder.cleanup()

    def __enter__(self) -> EndpointServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # How it works: a thread that accepts, and one for each connection

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
                accepted.close()  # It has hung up already.
                continue
            with self._changed:
                self._connections += 1
                thread = threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True)
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection: ssl.SSLSocket, number: int) -> None:
        # Clients may hang up, speak nonsense or refuse the certificate; none of it is the server's trouble.
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
        line = stream.readline(MOST_LINE_BYTES).decode("latin-1")
        if not line:
            return None
        method, path, _ = line.split()
        headers = {name.lower(): value for name, value in parse_headers(stream).items()}
        body = stream.read(int(headers.get("content-length", "0")))
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
