"""The health rows of endpoints: lock them, change them, and write only what has changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connections, models

from live_push.models import EndpointHealth
from live_push.models.clock import db_now
from live_push.rules import breaker, failing

from . import dialect, sql

LAST_SUCCESS_KEPT: Final = timedelta(seconds=1)
"""While an endpoint accepts everything, the time of its last success is written once in this time."""


_SELECT: Final = "SELECT {columns}, {now} FROM {health} WHERE {endpoints} ORDER BY endpoint_id {row_locks}"
_UPDATE: Final = "UPDATE {health} SET {assigned} WHERE endpoint_id = %(id)s"


class HealthRows:
    """The health rows of some endpoints, locked in the caller's transaction.

    ``by_id``
        The rows by the endpoint's id, without those that another transaction has locked. Change their attributes, then
        call :meth:`write`.
    ``now``
        The database's time when the rows were read.

    With ``locked=False`` the rows are only read, and must not be written.
    """

    def __init__(self, endpoint_ids: Collection[int], *, using: str, locked: bool = True) -> None:
        self.using = using
        values: dict[str, Any] = {}
        statement = sql.fill(
            _SELECT,
            using=using,
            columns=", ".join(field.attname for field in _fields()),
            now=dialect.time_of_database(values, "now", using=using),
            endpoints=dialect.any_of(values, "endpoint_id", endpoint_ids, using=using),
            row_locks=dialect.row_locks(using) if locked else "",
        )
        with connections[using].cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
        read = [_read_row(row[:-1]) for row in rows]
        self.by_id = {row["endpoint_id"]: EndpointHealth(**row) for row in read}
        self.now: datetime = dialect.read_moment(rows[0][-1]) if rows else db_now(using)
        self._before = {row["endpoint_id"]: row for row in read}

    @property
    def have_changed(self) -> bool:
        """Return whether :meth:`write` would write something."""
        return bool(self._changes())

    def write(self) -> None:
        """Write the columns that have changed. A row that has not changed costs no statement."""
        for pk, changed in self._changes().items():
            self._before[pk] = {**self._before[pk], **changed}
            values = {name: _written(value, using=self.using) for name, value in changed.items()}
            assigned = ", ".join(f"{name} = %({name})s" for name in values)
            with connections[self.using].cursor() as cursor:
                cursor.execute(sql.fill(_UPDATE, using=self.using, assigned=assigned), {**values, "id": pk})

    def _changes(self) -> dict[int, dict[str, Any]]:
        changes = {}
        for pk, health in self.by_id.items():
            before = self._before[pk]
            changed = {name: value for name in before if (value := getattr(health, name)) != before[name]}
            if _is_worth_a_statement(changed, before):
                changes[pk] = changed
        return changes


def note_success(health: EndpointHealth, now: datetime) -> None:
    """Change a health row as an accepted attempt does."""
    health.breaker = breaker.after_success(health.breaker)
    health.last_success_at, health.failing = now, failing.after_success(health.failing)


def _read_row(row: Sequence[Any]) -> dict[str, Any]:
    return {field.attname: _read(field, value) for field, value in zip(_fields(), row, strict=True)}


def _fields() -> list[Any]:
    return list(EndpointHealth._meta.concrete_fields)


def _is_worth_a_statement(changed: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    if changed.keys() != {"last_success_at"} or before["last_success_at"] is None:
        return bool(changed)
    return bool(changed["last_success_at"] - before["last_success_at"] >= LAST_SUCCESS_KEPT)


def _read(field: Any, value: Any) -> Any:
    if isinstance(field, models.DateTimeField):
        return dialect.read_moment(value)
    if isinstance(field, models.JSONField):
        # Some drivers return the text of a JSON column.
        return json.loads(value) if isinstance(value, str) else value
    return bool(value) if isinstance(field, models.BooleanField) else value


def _written(value: Any, *, using: str) -> Any:
    if isinstance(value, datetime):
        return dialect.adapt_moment(value, using=using)
    return json.dumps(value) if isinstance(value, dict | list) else value
