"""Hints for workers behind a broker, sent by a thread of its own: no save ever waits for the broker's socket."""

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

Session: TypeAlias = AbstractContextManager[Callable[[str], object]]
"""A connection to the broker, while it is open: what it yields sends the hint to look into one database."""

IDLE_SECONDS: Final = 5.0
"""How long thread and connection outlive the last hint, so that a busy process does not connect for each."""

KNOWN_BAD_SECONDS: Final = 30.0
"""How long nobody tries a broker that failed. The sweep finds what is due meanwhile."""

AT_EXIT_SECONDS: Final = 2.0
"""How long a process that ends waits for a hint under way."""


class Waker:
    """Sends hints; several for the same database that wait for the broker become one.

    :meth:`wake` returns at once and never raises, whatever state the broker is in.
    """

    def __init__(self, open_session: Callable[[], Session], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._open_session, self._monotonic = open_session, monotonic
        self._forget()
        atexit.register(self.finish)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._wanted: set[str] = set()
        self._is_sending = False
        self._is_running = False
        self._bad_until = 0.0

    def wake(self, using: str) -> None:
        """Have the workers look into this database, soon."""
        if self._pid != os.getpid():
            # A fork copies the lock, perhaps locked, but not the thread that would open it.
            self._forget()
        with self._changed:
            if self._monotonic() < self._bad_until:
                return
            self._wanted.add(using)
            self._changed.notify_all()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="live_push-waker", daemon=True).start()

    def finish(self, seconds: float = AT_EXIT_SECONDS) -> bool:
        """Wait for what is under way, at most that long; returns whether nothing is."""
        if self._pid != os.getpid():
            # What was under way at a fork is its parent's, and the copied lock may be locked for ever.
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not (self._wanted or self._is_sending), seconds)

    def _run(self) -> None:
        try:
            with self._open_session() as send:
                while wanted := self._next():
                    for using in sorted(wanted):
                        send(using)
        except Exception as error:  # noqa: BLE001  (whatever a broker's client raises, it is a hint that got lost)
            # The class only: the text may quote the broker's address with its password.
            sentence = "The broker failed (%s): for %.0f s nobody is woken, and the sweep finds what is due."
            logger.warning(sentence, type(error).__qualname__, KNOWN_BAD_SECONDS)
            with self._changed:
                self._bad_until = self._monotonic() + KNOWN_BAD_SECONDS
                self._wanted.clear()
                self._end()

    def _next(self) -> set[str]:
        """The databases to hint at; empty where none came for a while, and then the thread's time is over."""
        with self._changed:
            self._is_sending = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._wanted, IDLE_SECONDS):
                self._end()
                return set()
            wanted, self._wanted = self._wanted, set()
            self._is_sending = True
            return wanted

    def _end(self) -> None:
        self._is_sending = self._is_running = False
        self._changed.notify_all()
