"""An INSERT of many rows that is compiled once and run many times: ``bulk_create()`` takes longer than the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connections, models
from django.db.models.constants import OnConflict
from django.db.models.sql import InsertQuery

from live_push.chunks import chunks

MOST_PARAMETERS = 900
"""Of one statement. SQLite allows 999, unless it is built for more."""


class CompiledInsert:
    """The INSERT of rows of a model, for one database; those of a ``unique`` pair that is there already are updated.

    The rows are new, their primary keys given by the database.
    """

    def __init__(self, model: type[models.Model], *, using: str, unique: Sequence[str] = ()) -> None:
        connection = connections[using]
        meta = model._meta
        fields = [field for field in meta.concrete_fields if not field.primary_key]
        options: dict[str, Any] = {}
        if unique:
            named = [meta.get_field(name) for name in unique]
            with_target = connection.features.supports_update_conflicts_with_target
            options = {
                "on_conflict": OnConflict.UPDATE,
                "update_fields": [field for field in fields if field not in named],
                "unique_fields": named if with_target else [],
            }
        query = InsertQuery(model, **options)
        query.insert_values(fields, [model()])
        compiler: Any = query.get_compiler(using=using)
        # A row that was there has its key already, and not every database would tell which.
        self._tells_keys = not unique and connection.features.can_return_rows_from_bulk_insert
        if self._tells_keys:
            compiler.returning_fields = [meta.pk]
        ((sql, _parameters),) = compiler.as_sql()
        self.using = using
        self._row = f"({', '.join(['%s'] * len(fields))})"
        self._before, self._after = sql.split(self._row)
        self._columns = [(field.attname, _preparation(field, using)) for field in fields]

    def run(self, rows: Sequence[models.Model]) -> None:
        """Insert the rows. They get their primary keys where the database can tell them."""
        for some in chunks(rows, MOST_PARAMETERS // len(self._columns)):
            values = [prepare(getattr(row, name)) for row in some for name, prepare in self._columns]
            sql = self._before + ", ".join([self._row] * len(some)) + self._after
            with connections[self.using].cursor() as cursor:
                cursor.execute(sql, values)
                keys = cursor.fetchall() if self._tells_keys else []
            for row, (key,) in zip(some, keys, strict=self._tells_keys):
                row.pk = key
            for row in some:
                row._state.adding, row._state.db = False, self.using


def _preparation(field: Any, using: str) -> Callable[[Any], Any]:
    connection = connections[using]
    if isinstance(field, models.DateTimeField):
        return connection.ops.adapt_datetimefield_value
    if isinstance(field, models.ForeignKey | models.IntegerField):
        return lambda value: value
    return lambda value: field.get_db_prep_save(value, connection)
