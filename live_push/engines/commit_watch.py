"""Notice commits of other connections on SQLite, which does not notify other processes of commits."""

from __future__ import annotations

from typing import Any

from django.db import connections


class CommitWatch:
    """Shows a worker whether a connection other than its own has committed. Use it in one thread.

    Each connection has a count of the commits of all other connections (``PRAGMA data_version``). Reading the count
    takes a few microseconds, so a worker can look often and poll for due deliveries only when there may be some.
    """

    def __init__(self, using: str) -> None:
        self.using = using
        self.is_supported = connections[using].vendor == "sqlite"
        self._connection: Any = None
        self._driver: Any = None
        self._cursor: Any = None
        self._version = 0

    def saw_commit(self) -> bool:
        """Return whether another connection has committed since the last call. The first call returns false."""
        if self._connection is None:
            # Looking the connection up costs more than the statement, and this is called 40 times a second.
            self._connection = connections[self.using]
        if self._driver is None or self._connection.connection is not self._driver:
            return self._begin()
        previous, self._version = self._version, self._read()
        return previous != self._version

    def _begin(self) -> bool:
        # Counts are compared within one connection only: after a reconnect, the old count says nothing.
        self._connection.ensure_connection()
        self._driver = self._connection.connection
        # Ask the driver's connection, because Django would log the statement 40 times a second if it logs SQL.
        self._cursor = self._driver.cursor()
        self._version = self._read()
        return False

    def _read(self) -> int:
        (version,) = self._cursor.execute("PRAGMA data_version").fetchone()
        return int(version)
