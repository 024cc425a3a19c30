"""The clock of the database, with which due times, leases and sequences are compared.

The clocks of two machines may differ, but all machines share one database.
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
NOW = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "mysql": "UTC_TIMESTAMP(6)",
    # SQLite compares times as texts, so this one needs as many digits as the times that Django writes.
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
}
NOW_MS = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) * 1000 AS bigint)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000",
    "sqlite": "CAST((JULIANDAY('now') - 2440587.5) * 86400000 AS INTEGER)",
}
_stopped_at: datetime | None = None


@contextmanager
def stopped(at: datetime) -> Iterator[None]:
    """Stop the database's clock at an aware datetime, in all threads of this process. For tests."""
    global _stopped_at
    before, _stopped_at = _stopped_at, at
    try:
        yield
    finally:
        _stopped_at = before


def stopped_at() -> datetime | None:
    """Return the time at which a test has stopped the clock, if one has."""
    return _stopped_at


def is_stopped() -> bool:
    """Return whether a test has stopped the clock. Then the time is a part of each query's text."""
    return _stopped_at is not None


def epoch_milliseconds(moment: datetime) -> int:
    """Return an aware datetime as whole milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class DbNow(models.Func):
    """The database's UTC time as an aware datetime, precise to the microsecond (SQLite: to the millisecond)."""

    arity = 0
    output_field = models.DateTimeField()

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        if _stopped_at is not None:
            sql, params = compiler.compile(models.Value(_stopped_at, output_field=models.DateTimeField()))
            # MariaDB would return a literal without a cast as text.
            return (f"CAST({sql} AS datetime(6))" if connection.vendor == "mysql" else sql), params
        return NOW[connection.vendor], ()


class DbNowMs(models.Func):
    """The database's UTC time as whole milliseconds since 1970."""

    arity = 0
    output_field = models.BigIntegerField()

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        if _stopped_at is not None:
            return "%s", (epoch_milliseconds(_stopped_at),)
        return NOW_MS[connection.vendor], ()


def db_now(using: str) -> datetime:
    """Return the time of the database. Costs one trivial statement, or none while the clock is stopped."""
    if _stopped_at is not None:
        return _stopped_at
    connection = connections[using]
    sql = f"SELECT {NOW[connection.vendor]}"
    with connection.cursor() as cursor:
        # An empty list of parameters, so that the doubled percent signs of SQLite's format become single ones.
        cursor.execute(sql, [])
        (value,) = cursor.fetchone()
    moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
