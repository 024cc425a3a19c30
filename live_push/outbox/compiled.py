"""A statement of the ORM that is compiled once and run many times.

Django compiles a query anew each time it runs. For one that every save of a profile runs, or every batch of a worker,
that takes longer than the database does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery

ID: Final = -9_000_000_001
IDS: Final = (-9_000_000_002, -9_000_000_003)
MOMENT: Final = datetime(1, 2, 3, tzinfo=UTC)
OTHER_MOMENT: Final = datetime(1, 2, 4, tzinfo=UTC)
TOKEN: Final = UUID(int=9)
STATUS_CODE: Final = -9
"""What stands in a queryset for a value that is given when it runs. Two ids, so that a list is told from one."""

M = TypeVar("M", bound=Model)

_PLACE = re.compile(r"(?<!%)%s")


class Compiled:
    """The SELECT of a queryset, or its UPDATE to what is ``written``, for one database.

    ``holes`` are those of the values above that occur in it.
    """

    def __init__(
        self, queryset: QuerySet[Any, Any], *holes: object, using: str, written: Mapping[str, Any] | None = None
    ) -> None:
        self.using = using
        query = queryset.using(using).query
        # Of a queryset of values.
        self.names = list(query.selected or ())
        if written is not None:
            query = query.chain(UpdateQuery)
            query.add_update_values(written)  # type: ignore[attr-defined]
        self._compiler = query.get_compiler(using=using)
        sql, parameters = self._compiler.as_sql()
        # The second of two ids and the comma before it are part of the list's hole.
        pairs = zip(_PLACE.split(sql), [*parameters, None], strict=True)
        places = [(piece, value) for piece, value in pairs if value != IDS[1]]
        self._pieces = [piece for piece, _value in places]
        self._parameters = [value for _piece, value in places[:-1]]
        marks = [IDS[0] if hole is IDS else self._adapted(hole) for hole in holes]
        self._holes = {place: marks.index(value) for place, value in enumerate(self._parameters) if value in marks}
        selected = () if written is not None else self._compiler.select
        self._converters = self._compiler.get_converters([expression for expression, *_ in selected])

    def fetch(self, *values: Any, limit: int | None = None) -> Sequence[Sequence[Any]]:
        """The rows, with these values in the holes."""
        sql, parameters = self._filled(values)
        if limit is not None:
            sql, parameters = f"{sql} LIMIT %s", [*parameters, limit]
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql, parameters)
            rows = cursor.fetchall()
        return list(self._compiler.apply_converters(rows, self._converters)) if self._converters else rows

    def run(self, *values: Any) -> int:
        """Write, with these values in the holes; returns the number of rows."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(*self._filled(values))
            return int(cursor.rowcount)

    def _filled(self, values: Sequence[Any]) -> tuple[str, list[Any]]:
        sql, parameters = self._pieces[0], []
        for place, (parameter, piece) in enumerate(zip(self._parameters, self._pieces[1:], strict=True)):
            given = values[self._holes[place]] if place in self._holes else parameter
            some = [*given] if isinstance(given, (list, set)) else [self._adapted(given)]
            sql += (", ".join(["%s"] * len(some)) or "NULL") + piece
            parameters += some
        return sql, parameters

    def _adapted(self, value: Any) -> Any:
        connection = connections[self.using]
        if isinstance(value, datetime):
            return connection.ops.adapt_datetimefield_value(value)
        if isinstance(value, UUID):
            return value if connection.features.has_native_uuid_field else value.hex
        return value


def instance(model: type[M], row: Sequence[Any], *, using: str) -> M:
    """The row of a queryset of whole instances, as one."""
    return model.from_db(using, [field.attname for field in model._meta.concrete_fields], row)
