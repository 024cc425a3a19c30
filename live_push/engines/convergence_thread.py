"""Count the stored convergence in a thread of a worker, beside the deliveries."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from django.db import connections

from live_push.figures.stored_convergence import PAUSE_TIMES, count_next_slice

from .session import DatabaseSession

logger = logging.getLogger("live_push.engine")

RESERVE_SECONDS: Final = 10.0
"""How much later than due a worker looks that did not count the last slice.

So one worker counts slice after slice while the others look rarely. It is also the time from the worker's start to its
first look: a worker that starts has deliveries to catch up with.
"""

AFTER_ERROR_SECONDS: Final = 30.0
KEPT_OPEN_SECONDS: Final = 5.0
"""In pauses longer than this, the thread has no connection to the database."""

STOPPING_SECONDS: Final = 5.0
"""How long to wait for the slice that is being counted. A slice takes milliseconds."""


class ConvergenceThread:
    """Counts the convergence until it is stopped. It has a connection to the database of its own."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.session = DatabaseSession(using)
        self._stopping = threading.Event()
        # A daemon, so that a statement that hangs does not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="live_push-convergence", daemon=True)

    def start(self) -> None:
        """Start the thread. If none can be started, log it: the deliveries matter more."""
        try:
            self._thread.start()
        except RuntimeError:
            logger.warning("No thread can be started to count the convergence. Other workers count it.")

    def stop(self) -> None:
        """Stop the thread, and wait until it has ended, at most 5 s."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOPPING_SECONDS)

    def _run(self) -> None:
        pause = RESERVE_SECONDS
        try:
            while not self._stopping.wait(pause):
                pause = self._count()
                if pause > KEPT_OPEN_SECONDS:
                    self._close_connection()
        finally:
            self._close_connection()

    def _count(self) -> float:
        """Count the next slice if it is due. Return the seconds until the next look."""
        began = time.monotonic()
        try:
            self.session.set_up()
            turn = count_next_slice(using=self.using)
        except Exception:
            # The database is probably unreachable. The thread must go on after any error.
            logger.exception("The convergence could not be counted. It is tried again in %.0f s.", AFTER_ERROR_SECONDS)
            self._close_connection()
            return AFTER_ERROR_SECONDS
        if not turn.counted:
            return turn.seconds_until_next + RESERVE_SECONDS
        # Unlike the pause in the row, this one also counts the time that it took to write the row.
        return max(turn.seconds_until_next, PAUSE_TIMES * (time.monotonic() - began))

    def _close_connection(self) -> None:
        self.session.give_back()
        connections[self.using].close()
