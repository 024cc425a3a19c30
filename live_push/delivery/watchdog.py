"""Enforce the total timeout of an attempt by shutting its connection down.

The timeout of a socket starts again with every byte, so a client that sends its answer byte by byte could occupy a
thread for ever. One thread per process watches all attempts; a timer thread per attempt would cost a tenth of the
attempt's own time.
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
    """The time at which an attempt must end, and the connection to shut down then."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = monotonic() + seconds
        self.expired = False
        self._lock = threading.Lock()
        self._held: socket.socket | None = None

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the end, at least 0."""
        return max(self.ends_at - monotonic(), 0.0)

    @property
    def holds(self) -> bool:
        """Return whether there is a connection to shut down."""
        return self._held is not None

    def hold(self, connection: socket.socket) -> None:
        """Shut this connection down when the deadline expires, or at once if it has expired.

        It replaces the connection that was held before.
        """
        # Hold a duplicate. The original is closed by its owner, and its file descriptor may then belong to another
        # connection.
        duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
        self.release()
        with self._lock:
            self._held = duplicate
            if self.expired:
                self._shut_down()

    def expire(self) -> None:
        """Mark the deadline as expired and shut the connection down."""
        with self._lock:
            self.expired = True
            self._shut_down()

    def release(self) -> None:
        """Stop watching the connection, because the attempt has ended. The connection stays open."""
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None

    def _shut_down(self) -> None:
        if self._held is not None:
            # Shutting down affects the connection of all duplicates and wakes a thread that reads from it. Closing the
            # duplicate would do neither. An OSError means that the client closed the connection first.
            with suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """Expires deadlines in one thread, which starts with the first deadline."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Deadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[Deadline]:
        """Return a context manager whose deadline is this many seconds from now and is watched until the block ends."""
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
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="live_push-watchdog", daemon=True)
                # If no thread can be started, this raises an error, and the next deadline tries again.
                thread.start()
                self._thread = thread
            # New deadlines usually end after all others. Wake the thread only if this one ends before its next wake-up,
            # which saves a thread switch per attempt.
            elif deadline.ends_at < self._wakes_at:
                self._changed.notify()
            # The thread looks once this lock is released.
            self._watched.add(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for deadline in [watched for watched in self._watched if watched.ends_at <= now]:
                    self._watched.discard(deadline)
                    deadline.expire()
                self._wakes_at = min((deadline.ends_at for deadline in self._watched), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


@lru_cache(maxsize=1)
def _watchdog_of(_pid: int) -> Watchdog:
    return Watchdog()


def watchdog() -> Watchdog:
    """Return the watchdog of this process. Threads and locks don't survive a fork, so a child process has its own."""
    return _watchdog_of(os.getpid())
