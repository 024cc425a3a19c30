"""Listen for PostgreSQL's notifications of recorded pushes, on the connection of a worker.

A connection pooler in transaction mode, such as PgBouncer, accepts ``LISTEN`` and delivers nothing. So a worker sends
itself a notification through another connection, and relies on notifications only after this one has arrived.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from live_push import conf
from live_push.outbox.notify import CHANNEL

logger = logging.getLogger("live_push.engine")

SILENT_AFTER_SECONDS: Final = 5.0
"""If the worker's own notification has not arrived after this time, the log says so."""

LAST_TEST_SECONDS: Final = 1.0
"""How long a worker that ends waits for the thread that sends its own notification."""


class Listener:
    """Receives the notifications of one connection. Use it in the thread that owns the connection.

    ``is_trusted``
        Whether the worker's own notification has arrived on this connection, so that others will arrive, too.
    """

    def __init__(self, using: str, *, monotonic: Callable[[], float]) -> None:
        self.using, self.monotonic = using, monotonic
        self.is_trusted = False
        self._connection: Any = None
        self._is_listening = False
        self._since = 0.0
        self._was_notified = False
        self._has_warned = False
        self._own_payload = ""
        self._test: threading.Thread | None = None

    def set_up(self) -> None:
        """Listen on the worker's connection, unless that is done already. Other databases have no notifications."""
        connection = connections[self.using]
        if connection.vendor != "postgresql" or connection.connection is self._connection:
            return
        if connection.in_atomic_block or not connection.get_autocommit():
            return
        self._forget()
        self._connection = connection.connection
        if conf.current().NOTIFY_WORKERS and self._connection is not None:
            self._listen(connection)

    def was_notified(self) -> bool:
        """Return whether a notification has arrived since the last call.

        The driver reads notifications together with the answers to statements.
        """
        if self._is_listening and not hasattr(self._connection, "add_notify_handler"):
            # psycopg2 collects notifications in a list.
            while self._connection.notifies:
                self._receive(self._connection.notifies.pop(0))
        was_notified, self._was_notified = self._was_notified, False
        return was_notified

    def file_descriptor(self) -> int | None:
        """Return the socket of the connection, to wait for a notification; ``None`` if the connection is closed."""
        if not self._is_listening or self._connection.closed:
            return None
        return int(self._connection.fileno())

    def warn_if_silent(self) -> None:
        """Write to the log, once, if the worker's own notification does not arrive."""
        is_late = self.monotonic() - self._since >= SILENT_AFTER_SECONDS
        if self._is_listening and not self.is_trusted and is_late and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "PostgreSQL accepts LISTEN, but the worker's own notification does not arrive. The cause is probably a "
                "connection pooler in transaction mode. The worker polls for due deliveries instead. Let the worker "
                "connect to PostgreSQL directly, or set LIVE_PUSH['NOTIFY_WORKERS'] to False."
            )

    def close(self) -> None:
        """Stop listening, unless the connection is lost: with a pool, another thread may get the connection next."""
        if self._is_listening and connections[self.using].connection is self._connection:
            with suppress(Error), connections[self.using].cursor() as cursor:
                cursor.execute(f"UNLISTEN {CHANNEL}")
        self._forget()
        if self._test is not None:
            self._test.join(LAST_TEST_SECONDS)

    def _listen(self, connection: BaseDatabaseWrapper) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
        except Error as error:
            # A standby refuses to listen. If the connection is lost, the next statement of the worker fails, too.
            logger.info("PostgreSQL refuses LISTEN (%s), so the worker polls.", type(error).__qualname__)
            return
        driver: Any = connection.connection
        if hasattr(driver, "add_notify_handler"):
            driver.add_notify_handler(self._receive)
        self._is_listening = True
        self._since = self.monotonic()
        self._send_own()

    def _forget(self) -> None:
        if self._is_listening and hasattr(self._connection, "remove_notify_handler"):
            self._connection.remove_notify_handler(self._receive)
        self._connection = None
        self._is_listening = self.is_trusted = self._was_notified = False

    def _receive(self, notification: Any) -> None:
        if notification.payload == self._own_payload:
            self.is_trusted = True
        elif not notification.payload:
            # The notifications with which other workers test their connections have a payload.
            self._was_notified = True

    def _send_own(self) -> None:
        """Send the worker's own notification through another connection.

        A pooler could deliver a notification to the connection that has just sent it, and still none to one that waits.
        """
        self._own_payload = uuid.uuid4().hex
        self._test = threading.Thread(
            target=_notify, args=(self.using, self._own_payload), name="live_push-listener", daemon=True
        )
        # Without a thread the notification is not sent, and the worker polls.
        with suppress(RuntimeError):
            self._test.start()
            return
        self._test = None


def _notify(using: str, payload: str) -> None:
    # Django opens a connection of its own for each thread.
    connection = connections[using]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT PG_NOTIFY(%s, %s)", [CHANNEL, payload])
    except Exception as error:  # noqa: BLE001  (the worker polls instead, and its log says so)
        logger.debug("The worker could not notify itself (%s).", type(error).__qualname__)
    finally:
        connection.close()
