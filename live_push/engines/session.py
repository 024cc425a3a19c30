"""Set up a worker's database session: its transactions run at READ COMMITTED, independent of the project's settings.

At a stricter isolation level PostgreSQL would refuse to write a row that another transaction has changed since the
worker's transaction began, and MariaDB would lock rows that are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper


class DatabaseSession:
    """Sets up one thread's connection, and restores its settings later: a task of the host project may use it, too."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._connection: Any = None
        self._undo: list[Callable[[], None]] = []

    def set_up(self) -> None:
        """Set the connection up, unless that is done already or the caller has opened a transaction."""
        connection = connections[self.using]
        if connection.connection is not None and connection.connection is self._connection:
            return
        if connection.in_atomic_block or not connection.get_autocommit():
            return
        connection.ensure_connection()
        self._undo = []
        if connection.vendor == "postgresql":
            self._set_up_postgresql(connection)
        elif connection.vendor == "mysql":
            self._set_up_mariadb(connection)
        self._connection = connection.connection

    def give_back(self) -> None:
        """Restore the settings that the connection had before, unless the connection is lost."""
        if self._connection is not None and connections[self.using].connection is self._connection:
            with suppress(Error):
                for undo in reversed(self._undo):
                    undo()
        self._connection, self._undo = None, []

    def _set_up_postgresql(self, connection: BaseDatabaseWrapper) -> None:
        # Django's enumeration works for psycopg 2 and 3. Both drivers start each transaction at the level set on their
        # connection.
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        driver: Any = connection.connection
        level = driver.isolation_level
        if level not in (None, IsolationLevel.READ_COMMITTED):
            self._undo.append(lambda: setattr(driver, "isolation_level", level))
            driver.isolation_level = IsolationLevel.READ_COMMITTED
        # The default of the role applies to single statements, and to transactions if the driver sets no level.
        default = _value(connection, "SHOW default_transaction_isolation")
        if default != "read committed":
            self._set(connection, "default_transaction_isolation = %s", "read committed", before=default)

    def _set_up_mariadb(self, connection: Any) -> None:
        is_old = connection.mysql_is_mariadb and connection.mysql_version < (11, 1)
        name = "tx_isolation" if is_old else "transaction_isolation"
        level = _value(connection, f"SELECT @@SESSION.{name}")
        if level != "READ-COMMITTED":
            self._set(connection, f"{name} = %s", "READ-COMMITTED", before=level)
        # With a timeout of 0, SKIP LOCKED fails on MariaDB, and the error rolls the transaction back without ending it.
        if _value(connection, "SELECT @@SESSION.innodb_lock_wait_timeout") == 0:
            self._set(connection, "innodb_lock_wait_timeout = %s", 1, before=0)

    def _set(self, connection: BaseDatabaseWrapper, assignment: str, value: str | int, *, before: str | int) -> None:
        def assign(assigned: str | int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {assignment}", [assigned])

        self._undo.append(lambda: assign(before))
        assign(value)


@contextmanager
def worker_session(using: str) -> Iterator[None]:
    """Set the connection up for a worker, and restore its settings after the block."""
    session = DatabaseSession(using)
    session.set_up()
    try:
        yield
    finally:
        session.give_back()


def _value(connection: BaseDatabaseWrapper, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
