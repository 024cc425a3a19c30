"""Send wake-ups to a message broker from a thread of their own, so that no save waits for the broker."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

logger = logging.getLogger("live_push.engine")

BrokerSession: TypeAlias = AbstractContextManager[Callable[[str], object]]
"""A context manager around a connection to the broker. It yields a function that sends the wake-up for a database."""

IDLE_SECONDS: Final = 5.0
"""How long the thread and the connection stay after the last wake-up, so that a busy process reuses them."""

KNOWN_BAD_SECONDS: Final = 30.0
"""Pause after the broker failed. During the pause wake-ups are dropped, and the sweep finds what is due."""

AT_EXIT_SECONDS: Final = 2.0
"""How long a process that exits waits for a wake-up that is being sent."""


class Waker:
    """Sends wake-ups. While the broker is busy, several wake-ups for the same database become one."""

    def __init__(
        self, open_session: Callable[[], BrokerSession], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_session, self._monotonic = open_session, monotonic
        self._forget()
        atexit.register(self.finish)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._pending: set[str] = set()
        self._is_sending = False
        self._is_running = False
        self._bad_until = 0.0

    def wake(self, using: str) -> None:
        """Queue a wake-up for this database. Returns at once and never raises, even if the broker is down."""
        if self._pid != os.getpid():
            # A fork copies the lock, which may be held, but not the thread that would release it.
            self._forget()
        with self._changed:
            if self._monotonic() < self._bad_until:
                return
            self._pending.add(using)
            self._changed.notify_all()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="live_push-waker", daemon=True).start()

    def finish(self, seconds: float = AT_EXIT_SECONDS) -> bool:
        """Wait until all wake-ups are sent, at most this many seconds. Return whether they were."""
        if self._pid != os.getpid():
            # The wake-ups belong to the parent process, and the copied lock may stay held for ever.
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not (self._pending or self._is_sending), seconds)

    def _run(self) -> None:
        try:
            with self._open_session() as send:
                while aliases := self._next():
                    for using in sorted(aliases):
                        send(using)
        except Exception as error:  # noqa: BLE001  (a wake-up may be lost, and broker clients may raise anything)
            # Log only the class: the text may quote the broker's address with its password.
            sentence = "The broker failed (%s). No workers are woken for %.0f s; the sweep finds what is due."
            logger.warning(sentence, type(error).__qualname__, KNOWN_BAD_SECONDS)
            with self._changed:
                self._bad_until = self._monotonic() + KNOWN_BAD_SECONDS
                self._pending.clear()
                self._end()

    def _next(self) -> set[str]:
        """Return the databases to send wake-ups for; an empty set after 5 s without any. The thread then ends."""
        with self._changed:
            self._is_sending = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._pending, IDLE_SECONDS):
                self._end()
                return set()
            aliases, self._pending = self._pending, set()
            self._is_sending = True
            return aliases

    def _end(self) -> None:
        self._is_sending = self._is_running = False
        self._changed.notify_all()
