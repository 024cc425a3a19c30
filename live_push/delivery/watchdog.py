"""The total time of an attempt, enforced: when it is over, the connection is cut.

A socket's own timeout starts anew with every byte, so a peer that drips them can hold a thread for ever. One thread
watches all attempts of the process: a timer thread for each would cost a tenth of the attempt itself.
"""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from time import monotonic


class Deadline:
    """When an attempt must be over, and the connection to cut then."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = monotonic() + seconds
        self.expired = False
        self._lock = threading.Lock()
        self._held: socket.socket | None = None

    @property
    def seconds_left(self) -> float:
        """0 or more."""
        return max(self.ends_at - monotonic(), 0.0)

    @property
    def holds(self) -> bool:
        """Whether there is a connection to cut."""
        return self._held is not None

    def hold(self, connection: socket.socket) -> None:
        """Cut this connection when time is up; at once, if it is."""
        # A duplicate: TLS takes the original over, and whoever closes it frees its number for another connection.
        duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
        self.release()
        with self._lock:
            self._held = duplicate
            if self.expired:
                self._cut()

    def expire(self) -> None:
        """Time is up."""
        with self._lock:
            self.expired = True
            self._cut()

    def release(self) -> None:
        """The attempt is over: let go of the connection, which may live on."""
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None

    def _cut(self) -> None:
        if self._held is not None:
            # Shutting down reaches the connection through any duplicate and wakes whoever waits on it; closing
            # does neither. The peer may have been faster.
            with suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """Expires deadlines on time, in one thread that begins with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Deadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[Deadline]:
        """A deadline that many seconds from now, watched until the block ends."""
        deadline = Deadline(seconds)
        self._watch(deadline)
        try:
            yield deadline
        finally:
            with self._changed:
                self._watched.discard(deadline)
            deadline.release()

    def _watch(self, deadline: Deadline) -> None:
        with self._changed:
            self._watched.add(deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live_push-watchdog", daemon=True)
                self._thread.start()
            # Deadlines mostly come in order: waking for each of them would be a thread switch for each request.
            elif deadline.ends_at < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for deadline in [one for one in self._watched if one.ends_at <= now]:
                    self._watched.discard(deadline)
                    deadline.expire()
                self._wakes_at = min((one.ends_at for one in self._watched), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


@lru_cache(maxsize=1)
def _watchdog_of(_pid: int) -> Watchdog:
    return Watchdog()


def watchdog() -> Watchdog:
    """The watchdog of this process. Threads and locks don't survive a fork, so a child has its own."""
    return _watchdog_of(os.getpid())
