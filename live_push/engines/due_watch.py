"""Look for due deliveries again and again, on databases that tell a worker nothing by themselves."""

from __future__ import annotations

from typing import Any

from django.db import connections

from live_push.models.clock import is_stopped
from live_push.outbox import idle


class DueWatch:
    """Shows a worker whether a delivery is due. Use it in one thread.

    It asks the driver's connection: Django would take longer than the database, and log the statement 12 times a
    second if it logs SQL. An error is the driver's own.
    """

    def __init__(self, using: str) -> None:
        self.using = using
        self._connection: Any = None
        self._driver: Any = None
        self._cursor: Any = None
        self._sql, self._values = "", idle.Values()

    def sees_due(self) -> bool:
        """Return whether a delivery is due at an endpoint that is active and does not rest."""
        if self._connection is None:
            self._connection = connections[self.using]
        is_new = self._driver is None or self._connection.connection is not self._driver
        # If a test stops the clock, the values contain the stopped time.
        if is_new or is_stopped() or self._values:
            self._begin()
        self._cursor.execute(self._sql, self._values or None)
        return bool(self._cursor.fetchone()[0])

    def _begin(self) -> None:
        self._connection.ensure_connection()
        self._driver = self._connection.connection
        self._cursor = self._driver.cursor()
        self._sql, self._values = idle.due_statement(self.using)
