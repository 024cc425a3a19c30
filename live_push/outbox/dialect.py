"""SQL that differs between the databases, for the statements that run for every batch of deliveries.

A function with the argument ``values`` returns a piece of SQL with named parameters (``%(name)s``), and adds these
parameters to ``values``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connections

from live_push.models import clock
from live_push.rules.batched import batched

MOST_PARAMETERS: Final = 900
"""The most parameters of one statement. SQLite allows 999, unless it is built for more."""


def returns_updated_rows(using: str) -> bool:
    """Return whether to use ``UPDATE … RETURNING``.

    MariaDB does not have it. SQLite has it, but keeps the database locked until all rows are read, so that a worker
    that is suspended in between would block every other writer.
    """
    return connections[using].vendor == "postgresql"


def time_of_database(values: dict[str, Any], name: str, *, using: str, later: timedelta = timedelta(0)) -> str:
    """Return the database's current time plus ``later``, as SQL. A negative ``later`` gives a time in the past."""
    connection = connections[using]
    stopped = clock.stopped_at()
    if stopped is not None:
        values[name] = connection.ops.adapt_datetimefield_value(stopped + later)
        # MariaDB and PostgreSQL treat a literal without a cast as a text.
        types = {"postgresql": "timestamptz", "mysql": "datetime(6)"}
        kind = types.get(connection.vendor)
        return f"CAST(%({name})s AS {kind})" if kind else f"%({name})s"
    if not later:
        return clock.NOW[connection.vendor]
    if connection.vendor == "sqlite":
        values[name] = f"{later.total_seconds():+.3f} seconds"
        return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', %({name})s)"
    if connection.vendor == "postgresql":
        values[name] = later.total_seconds()
        return f"({clock.NOW[connection.vendor]} + make_interval(secs => %({name})s))"
    values[name] = later // timedelta(microseconds=1)
    return f"({clock.NOW[connection.vendor]} + INTERVAL %({name})s MICROSECOND)"


def next_sequence(values: dict[str, Any], column: str, *, using: str) -> str:
    """Return the sequence after that of a column, as :data:`live_push.models.sequences.NEXT_SEQUENCE` defines it."""
    vendor, stopped = connections[using].vendor, clock.stopped_at()
    now = clock.NOW_MS[vendor]
    if stopped is not None:
        values["now_ms"], now = clock.epoch_milliseconds(stopped), "%(now_ms)s"
    greatest = "MAX" if vendor == "sqlite" else "GREATEST"
    return f"{greatest}({column} + 1, {now})"


def any_of(values: dict[str, Any], column: str, ids: Collection[int], *, using: str, name: str = "ids") -> str:
    """Return the condition that a column has one of these numbers."""
    if connections[using].vendor == "postgresql":
        # One text for any number of ids, so that the driver parses it once.
        values[name] = _array(ids, "bigint")
        return f"{column} = ANY(%({name})s::bigint[])"
    names = [f"{name}_{number}" for number in range(len(ids))]
    values.update(zip(names, ids, strict=True))
    return f"{column} IN ({', '.join(f'%({name})s' for name in names) or 'NULL'})"


def token(value: UUID | None, *, using: str) -> Any:
    """Return a UUID in the form that the database's driver expects."""
    if value is None or connections[using].features.has_native_uuid_field:
        return value
    return value.hex


def adapt_moment(value: datetime | None, *, using: str) -> Any:
    """Return an aware datetime in the form that the database's driver expects."""
    return connections[using].ops.adapt_datetimefield_value(value)


def read_uuid(value: Any) -> Any:
    """Convert a UUID that was read from the database. SQLite and MariaDB return a text."""
    return value if value is None or isinstance(value, UUID) else UUID(value)


def row_locks(using: str, *, of: str = "") -> str:
    """Return the end of a SELECT that locks its rows, or those of the alias ``of``, until the transaction ends.

    Locked rows are left out. A database that can't do this raises an error for which
    :func:`~live_push.models.transactions.is_locked` returns true. SQLite has no locks on rows.
    """
    features = connections[using].features
    if not features.has_select_for_update:
        return ""
    kind = "FOR NO KEY UPDATE" if features.has_select_for_no_key_update else "FOR UPDATE"
    which = f" OF {of}" if of and features.has_select_for_update_of else ""
    if features.has_select_for_update_skip_locked:
        return f"{kind}{which} SKIP LOCKED"
    return f"{kind}{which} NOWAIT" if features.has_select_for_update_nowait else f"{kind}{which}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


_ITEMS: Final[dict[str, Callable[[Any], str]]] = {
    "bigint": str,
    "integer": str,
    "smallint": str,
    "boolean": str,
    "text": _quoted,
    "bytea": lambda value: rf'"\\x{value.hex()}"',
    "timestamptz": lambda moment: f'"{moment.isoformat()}"',
}
"""How PostgreSQL writes an item of an array, by the item's type."""


def _array(items: Iterable[Any], kind: str) -> str:
    """Return an array as PostgreSQL writes it: psycopg adapts each item of a list, which takes ten times as long."""
    written = _ITEMS[kind]
    return f"{{{','.join('NULL' if item is None else written(item) for item in items)}}}"


class Statement(NamedTuple):
    """A statement with named parameters, and their values."""

    sql: str
    values: Mapping[str, Any]


def inserts(
    table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], *, name: str, using: str, conflict: str = ""
) -> list[Statement]:
    """Return the INSERT of these rows, or several of them if the database limits the parameters of a statement.

    ``columns`` has the type of each column on PostgreSQL, in the order of the values of a row. ``name`` begins the
    names of the parameters. ``conflict`` ends each statement, see :func:`upsert`.
    """
    head = f"INSERT INTO {table} ({', '.join(map(connections[using].ops.quote_name, columns))})"
    if connections[using].vendor == "postgresql":
        # An array for each column: one text for any number of rows, so that the driver parses it once.
        arrays = ", ".join(f"%({name}_{column})s::{kind}[]" for column, kind in columns.items())
        lists = zip(columns.items(), zip(*rows, strict=True), strict=True)
        values = {f"{name}_{column}": _array(items, kind) for (column, kind), items in lists}
        return [Statement(f"{head} SELECT * FROM UNNEST({arrays}){conflict}", values)]  # noqa: S608  (our own words)
    return [_insert_of(batch, head, name, conflict) for batch in batched(rows, MOST_PARAMETERS // len(columns))]


def _insert_of(rows: Sequence[Sequence[Any]], head: str, name: str, conflict: str) -> Statement:
    values = {f"{name}_{number}": value for number, value in enumerate(itertools.chain.from_iterable(rows))}
    marks = iter([f"%({key})s" for key in values])
    lines = ", ".join(f"({', '.join(itertools.islice(marks, len(row)))})" for row in rows)
    return Statement(f"{head} VALUES {lines}{conflict}", values)


def upsert(unique: Sequence[str], changes: Mapping[str, str], *, table: str, using: str) -> str:
    """Return the end of an INSERT that updates the row if one with the same unique columns exists.

    ``changes`` has the new value of each column, as SQL. There ``{old}`` stands for the value of the row that exists,
    and ``{new}`` for the value that was to be inserted.
    """
    if connections[using].vendor == "mysql":
        head, new, old = "ON DUPLICATE KEY UPDATE", "VALUES({})", ""
    else:
        head, new, old = f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET", "EXCLUDED.{}", f"{table}."
    changed = [
        f"{column} = {change.format(old=old + column, new=new.format(column))}" for column, change in changes.items()
    ]
    return f" {head} {', '.join(changed)}"


def execute_together(statements: Sequence[Statement], *, using: str) -> list[tuple[Any, ...]]:
    """Execute statements, and return the rows of the last one, a SELECT. On PostgreSQL they make one trip.

    There the SELECT does not see what the others write, and no two of them may write the same row.
    """
    *writing, reading = statements
    with connections[using].cursor() as cursor:
        if writing and connections[using].vendor == "postgresql":
            parts = ", ".join(f"written_{number} AS ({part.sql})" for number, part in enumerate(writing))
            values = dict(itertools.chain.from_iterable(part.values.items() for part in statements))
            cursor.execute(f"WITH {parts} {reading.sql}", values)
        else:
            for part in statements:
                cursor.execute(part.sql, part.values)
        return list(cursor.fetchall())


def without_waiting(update: str, *, table: str, condition: str, using: str) -> str:
    """Return an UPDATE of the rows that match a condition. The UPDATE does not wait for locks.

    PostgreSQL leaves locked rows out. MariaDB raises an error for which
    :func:`~live_push.models.transactions.is_locked` returns true. SQLite has no locks on rows.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        free = f"SELECT id FROM {table} WHERE {condition} FOR NO KEY UPDATE SKIP LOCKED"  # noqa: S608  (our own words)
        return f"{update} WHERE id IN ({free})"
    is_mariadb = connection.vendor == "mysql" and connection.mysql_is_mariadb  # type: ignore[attr-defined]
    prefix = "SET STATEMENT innodb_lock_wait_timeout = 0 FOR " if is_mariadb else ""
    return f"{prefix}{update} WHERE {condition}"


def select_moment(sql: str, *, using: str) -> str:
    """Return a time as SQL, in the form that :func:`read_moment` reads at the least cost."""
    # psycopg parses a time in Python, which takes longer than the rest of the row. A float holds microseconds exactly
    # until the year 2255.
    return f"EXTRACT(EPOCH FROM {sql})::float8" if connections[using].vendor == "postgresql" else sql


def read_moment(value: Any) -> Any:
    """Convert a time that was read from the database to an aware datetime in UTC."""
    if isinstance(value, float):
        return datetime.fromtimestamp(value, UTC)
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    if parsed is None:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
