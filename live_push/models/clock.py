"""The database's clock: the only one that due times, leases and sequences are compared with.

Hosts may disagree about the time; they share one database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
    # Moments are compared as text, so it has as many digits as those that Django writes.
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
}
_NOW_MS = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) * 1000 AS bigint)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000",
    "sqlite": "CAST((JULIANDAY('now') - 2440587.5) * 86400000 AS INTEGER)",
}
_stopped_at: datetime | None = None


@contextmanager
def stopped(at: datetime) -> Iterator[None]:
    """Stop the database's clock at an aware datetime, for tests, in all threads of this process."""
    global _stopped_at
    before, _stopped_at = _stopped_at, at
    try:
        yield
    finally:
        _stopped_at = before


def is_stopped() -> bool:
    """Whether a test has stopped the clock: then it is part of every query's text."""
    return _stopped_at is not None


class DbNow(models.Func):
    """The database's UTC time as an aware datetime, in microseconds (SQLite: milliseconds)."""

    arity = 0
    output_field = models.DateTimeField()

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        if _stopped_at is not None:
            sql, params = compiler.compile(models.Value(_stopped_at, output_field=models.DateTimeField()))
            # MariaDB would give a bare literal back as text.
            return (f"CAST({sql} AS datetime(6))" if connection.vendor == "mysql" else sql), params
        return _NOW[connection.vendor], ()


class DbNowMs(models.Func):
    """The database's UTC time as whole milliseconds since 1970."""

    arity = 0
    output_field = models.BigIntegerField()

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        if _stopped_at is not None:
            return "%s", ((_stopped_at - _EPOCH) // timedelta(milliseconds=1),)
        return _NOW_MS[connection.vendor], ()


def db_now(using: str) -> datetime:
    """Ask the database for its time: one trivial statement, or none while the clock is stopped."""
    if _stopped_at is not None:
        return _stopped_at
    connection = connections[using]
    sql = f"SELECT {_NOW[connection.vendor]}"
    with connection.cursor() as cursor:
        # SQLite's strftime is full of percent signs, which are doubled here as for a statement with parameters.
        cursor.execute(sql, [])
        (value,) = cursor.fetchone()
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
