"""The event loop: one thread that runs libcurl and waits for all connections."""

from __future__ import annotations

import heapq
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Final, Protocol

from live_push.delivery.no_answer import log_unexpected

from .libcurl import pycurl

MOST_IDLE_CONNECTIONS: Final = 1000

LoopStep = Callable[[], None]


class RunningAttempt(Protocol):
    """The methods of an attempt that the loop calls."""

    def begin(self) -> None:
        """Run the first step."""

    def before_curl(self) -> None:
        """Stop if the deadline has passed, because libcurl may write next."""

    def after_curl(self) -> None:
        """Do what must not be done inside libcurl's callbacks."""

    def fail(self, error: Exception) -> None:
        """End the attempt with this error."""


class Loop:
    """Runs steps, watches sockets and runs libcurl, in a thread of its own.

    The thread ends after :meth:`retire` was called and all attempts have ended. ``watched`` has the attempts whose
    ``before_curl()`` and ``after_curl()`` are called around each call of libcurl.
    """

    def __init__(self) -> None:
        self.watched: set[RunningAttempt] = set()
        self.has_ended = False
        self._is_retired = False
        self._lock = threading.Lock()
        self._attempts: set[RunningAttempt] = set()
        self._steps: deque[LoopStep] = deque()
        self._timers: list[tuple[float, int, LoopStep]] = []
        self._numbers = count()
        self._transfers: dict[pycurl.Curl, Callable[[int, str], None]] = {}
        self._curl_is_due_at: float | None = None
        self._curls_sockets: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._multi = pycurl.CurlMulti()
        try:
            self._waker.setblocking(False)
            self._woken.setblocking(False)
            self._selector.register(self._woken, selectors.EVENT_READ, self._drain)
            self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_for_curl)
            self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_curls_timer)
            self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_IDLE_CONNECTIONS)
            self._thread = threading.Thread(target=self._run, name="live_push-fast", daemon=True)
            self._thread.start()
        except BaseException:
            self._close()
            raise

    # From any thread

    def begin(self, attempt: RunningAttempt) -> None:
        """Start an attempt. Raises :class:`RuntimeError` if the loop has ended."""
        with self._lock:
            if self.has_ended:
                raise RuntimeError("The loop has ended.")
            self._attempts.add(attempt)
        self.call(attempt.begin)

    def call(self, step: LoopStep) -> None:
        """Run a step soon, in the loop's thread."""
        with self._lock:
            is_first = not self._steps
            self._steps.append(step)
        if is_first:
            # If the pipe is full, the thread has been woken already. If it is closed, the thread has ended.
            with suppress(OSError):
                self._waker.send(b"\0")

    def retire(self, seconds: float) -> None:
        """End the thread after the last attempt, and wait for that, at most this many seconds."""
        self._is_retired = True
        self.call(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    # From the loop's own thread

    def forget(self, attempt: RunningAttempt) -> None:
        """Remove an attempt that has its result."""
        with self._lock:
            self._attempts.discard(attempt)

    def at(self, when: float, step: LoopStep) -> None:
        """Run a step at that time of :func:`time.monotonic`."""
        heapq.heappush(self._timers, (when, next(self._numbers), step))

    def watch(self, connection: socket.socket, step: LoopStep) -> None:
        """Run a step when the socket can be written to."""
        self._selector.register(connection, selectors.EVENT_WRITE, step)

    def unwatch(self, connection: socket.socket) -> None:
        """Stop watching the socket."""
        self._selector.unregister(connection)

    def add(self, curl: pycurl.Curl, ended: Callable[[int, str], None]) -> None:
        """Start a transfer. At its end, ``ended`` is called with libcurl's code (0 for success) and message."""
        self._multi.add_handle(curl)
        self._transfers[curl] = ended

    def remove(self, curl: pycurl.Curl) -> None:
        """Remove a transfer from libcurl. If the transfer is unfinished, libcurl closes its connection."""
        if self._transfers.pop(curl, None) is not None:
            self._multi.remove_handle(curl)

    # How it works

    def _run(self) -> None:
        try:
            while self._attempts or not self._is_retired:
                self._turn()
        except Exception as error:  # noqa: BLE001  (after any error, each attempt must end in a result)
            log_unexpected(type(error).__qualname__)
        finally:
            with self._lock:
                self.has_ended = True
                unfinished = list(self._attempts)
            for attempt in unfinished:
                attempt.fail(RuntimeError())
            self._close()

    def _turn(self) -> None:
        for key, events in self._selector.select(self._seconds_to_wait()):
            if key.data is not None:
                key.data()
            # An event before this one may have closed the socket.
            elif key.fd in self._curls_sockets:
                reads = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
                writes = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
                self._drive_curl(key.fd, reads | writes)
        now = monotonic()
        # Twice, because a transfer that the first call lets continue is due at once.
        for _ in range(2):
            if self._curl_is_due_at is not None and self._curl_is_due_at <= now:
                self._curl_is_due_at = None
                self._drive_curl(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        for _ in range(len(self._steps)):
            self._steps.popleft()()

    def _seconds_to_wait(self) -> float | None:
        if self._steps:
            return 0
        due = [self._timers[0][0]] if self._timers else []
        if self._curl_is_due_at is not None:
            due.append(self._curl_is_due_at)
        return max(min(due) - monotonic(), 0) if due else None

    def _drive_curl(self, descriptor: int, events: int) -> None:
        # Check the deadlines again, because the thread may have been suspended since the last check.
        for attempt in tuple(self.watched):
            attempt.before_curl()
        self._multi.socket_action(descriptor, events)
        for attempt in tuple(self.watched):
            attempt.after_curl()

    def _collect(self) -> None:
        more = 1
        while more:
            more, succeeded, failed = self._multi.info_read()
            for curl, code, message in [*((curl, 0, "") for curl in succeeded), *failed]:
                ended = self._transfers[curl]
                self.remove(curl)
                ended(code, message)

    def _watch_for_curl(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        previous = self._curls_sockets.pop(descriptor, 0)
        wanted = selectors.EVENT_READ if what & pycurl.POLL_IN else 0
        wanted |= selectors.EVENT_WRITE if what & pycurl.POLL_OUT else 0
        if wanted:
            self._curls_sockets[descriptor] = wanted
        if wanted and not previous:
            self._selector.register(descriptor, wanted)
        elif previous and not wanted:
            self._selector.unregister(descriptor)
        elif previous != wanted:
            self._selector.modify(descriptor, wanted)

    def _set_curls_timer(self, milliseconds: int) -> None:
        self._curl_is_due_at = None if milliseconds < 0 else monotonic() + milliseconds / 1000

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _close(self) -> None:
        self._multi.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()
