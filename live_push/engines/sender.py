"""Start attempts without waiting for them, in a thread pool or in the transport's own thread."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from live_push.delivery.request import ThreadlessTransport, Transport
from live_push.delivery.send import Prepared, begin, outcome_of, send, too_late
from live_push.outbox.outcome import Outcome
from live_push.rules.result import ErrorCode, Result

logger = logging.getLogger("live_push.engine")


class OutOfThreads(RuntimeError):  # noqa: N818  (it names the fact, as the public errors do)
    """No thread could be started for an attempt, so nothing was sent."""


class Sender:
    """Starts attempts. ``report`` is called exactly once per attempt with its outcome, in any thread."""

    def __init__(self, transport: Transport, threads: int, report: Callable[[Outcome], None]) -> None:
        self.transport = transport
        self._threadless = transport if isinstance(transport, ThreadlessTransport) else None
        self._report = report
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="live_push")

    def begin(self, prepared: Prepared) -> None:
        """Start an attempt and return at once.

        Raises :class:`OutOfThreads` if no thread could be started. The reported outcome then says that nothing was
        sent.
        """
        # Only the code that acquires this lock reports the outcome. If the pool can't start a thread, the attempt is in
        # the pool's queue already: without the lock, a thread that is started later would send the request.
        taken = threading.Lock()
        try:
            if self._threadless is not None:
                begin(prepared, self._threadless, lambda outcome: self._report_once(taken, outcome))
            else:
                self._pool.submit(self._attempt, prepared, taken)
        except RuntimeError as error:
            self._report_once(taken, too_late(prepared))
            raise OutOfThreads(
                "No thread could be started for a request. Raise the limit on processes (ulimit -u, TasksMax in "
                "systemd, the pids limit of a container), or give the worker fewer --threads."
            ) from error

    def close(self) -> None:
        """Stop the threads. Attempts in flight end with their own timeouts."""
        self._pool.shutdown(wait=False)

    def _attempt(self, prepared: Prepared, taken: threading.Lock) -> None:
        if not taken.acquire(blocking=False):
            return
        fault = None
        try:
            outcome = send(prepared, self.transport)
        except Exception as error:  # noqa: BLE001
            # A transport of the host project may raise; ours don't. HTTP clients quote headers in their errors, so only
            # the type and the traceback's lines are logged. The logging happens after this block, because some log
            # handlers record the exception that is being handled, with its text and local variables.
            outcome = outcome_of(prepared, Result(error_code=ErrorCode.UNEXPECTED, request_written=True))
            fault = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        if fault is not None:
            logger.error("The transport raised %s on delivery %s:\n%s", fault[0], prepared.delivery.pk, fault[1])
        self._report(outcome)

    def _report_once(self, taken: threading.Lock, outcome: Outcome) -> None:
        if taken.acquire(blocking=False):
            self._report(outcome)
