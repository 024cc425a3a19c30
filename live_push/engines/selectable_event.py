"""An event that a thread can wait for together with data from the database."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class SelectableEvent(threading.Event):
    """A :class:`threading.Event` with one more way to wait: until it is set, or until a socket has data to read."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._is_selecting = False

    def set(self) -> None:
        """Set the event, and end the wait of the thread that is in :meth:`wait_or_read`."""
        super().set()
        # The waiting thread raises this flag before it looks at the event, so one of the two sees the other.
        if self._is_selecting and self._ends is not None:
            # If the buffer is full, the wait ends anyway.
            with suppress(OSError):
                self._ends[1].send(b"\0")

    def wait_or_read(self, file_descriptor: int, seconds: float) -> bool:
        """Wait until the event is set, or the socket has data or is closed, at most this many seconds.

        Returns whether the socket has data or is closed. Only one thread may wait here.
        """
        if self._ends is None:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
        own = self._ends[0]
        self._is_selecting = True
        try:
            if self.is_set():
                return False
            with selectors.DefaultSelector() as selector:
                selector.register(own, selectors.EVENT_READ)
                selector.register(file_descriptor, selectors.EVENT_READ)
                ready = {key.fd for key, _events in selector.select(seconds)}
            return file_descriptor in ready
        finally:
            self._is_selecting = False
            with suppress(OSError):
                while own.recv(4096):
                    pass

    def close(self) -> None:
        """Close the sockets. Afterwards the event can still be set and waited for."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()
