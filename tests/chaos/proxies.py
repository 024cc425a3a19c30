"""TCP proxies that hold back what they forward: in front of a database, and in front of a client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

CHUNK_BYTES = 64 * 1024
MOST_HELD_SECONDS = 60


class Proxy:
    """Forwards each connection to ``target`` and back, byte by byte. Use it with ``with``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closing alone does not wake the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def forth(self, connection: Connection, data: bytes) -> None:
        """Called with what is about to go to the target; may block."""

    def back(self, connection: Connection, data: bytes) -> None:
        """Called with what is about to go back; may block."""

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {near, far}
                connection = Connection()
                for source, sink, hook in ((near, far, self.forth), (far, near, self.back)):
                    threading.Thread(target=self._pump, args=(source, sink, hook, connection), daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        hook: Callable[[Connection, bytes], None],
        connection: Connection,
    ) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                hook(connection, data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Connection:
    """One connection through a proxy."""

    def __init__(self) -> None:
        self.is_held = False


class DatabaseProxy(Proxy):
    """Holds the database's answer to the first statement that marks deliveries as dialled."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.holds = threading.Event()
        self.released = threading.Event()

    def forth(self, connection: Connection, data: bytes) -> None:
        if not self.holds.is_set() and data.count(b"attempts_made") and b"COALESCE" in data and b"UPDATE" in data:
            # Before the statement leaves, so that no answer slips through.
            connection.is_held = True
            self.holds.set()

    def back(self, connection: Connection, data: bytes) -> None:
        if connection.is_held:
            self.released.wait(MOST_HELD_SECONDS)


class HandshakeGate(Proxy):
    """Holds the TLS handshakes of connections that come before it is opened, each second one after its first half."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.opened = threading.Event()
        self._changed = threading.Condition()
        self._arrived = 0

    def wait_for(self, connections: int, seconds: float) -> bool:
        """Wait until so many connections began their handshake."""
        with self._changed:
            return self._changed.wait_for(lambda: self._arrived >= connections, seconds)

    def forth(self, connection: Connection, data: bytes) -> None:
        if self.opened.is_set() or connection.is_held:
            return
        connection.is_held = True
        with self._changed:
            self._arrived += 1
            number = self._arrived
            self._changed.notify_all()
        if number % 2:
            self.opened.wait(MOST_HELD_SECONDS)

    def back(self, connection: Connection, data: bytes) -> None:
        if connection.is_held:
            self.opened.wait(MOST_HELD_SECONDS)
