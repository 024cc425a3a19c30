"""A SELECT of the ORM that is compiled once and run many times.

Django compiles a query anew each time it runs. For the wide one that reads a snapshot that takes longer than the
database does, and it would be paid by every save of a profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import QuerySet

# Two of them, so that the list is told from any other parameter of the query.
_MARKS = (-1, -2)


class CompiledRows:
    """The rows of ``queryset.filter(pk__in=…).values(…)`` as dicts, for one database.

    The queryset must not depend on anything but its ids.
    """

    def __init__(self, queryset: QuerySet[Any, Any], *, using: str) -> None:
        query = queryset.using(using).filter(pk__in=_MARKS).order_by().query
        compiler = query.get_compiler(using=using)
        sql, parameters = compiler.as_sql()
        self.using = using
        self.names = list(query.selected or [*query.values_select, *query.annotation_select])
        self._before = list(parameters[: parameters.index(_MARKS[0])])
        self._after = list(parameters[parameters.index(_MARKS[1]) + 1 :])
        self._head, self._tail = sql.split("IN (%s, %s)")
        self._compiler = compiler
        self._converters = compiler.get_converters([expression for expression, _sql, _alias in compiler.select])

    def fetch(self, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The rows of these ids: one statement."""
        places = ", ".join(["%s"] * len(ids)) or "NULL"
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"{self._head}IN ({places}){self._tail}", [*self._before, *ids, *self._after])
            rows = cursor.fetchall()
        for row in self._compiler.apply_converters(rows, self._converters):
            yield dict(zip(self.names, row, strict=True))
