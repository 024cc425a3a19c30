"""The sequence of a profile's changes. Each save steps it in the save's own statement, without a second UPDATE."""

from __future__ import annotations

from typing import Any, Final

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, F, Model
from django.db.models.functions import Greatest
from django.db.models.sql.compiler import SQLCompiler

from .clock import DbNow, DbNowMs

NEXT_SEQUENCE: Final = Greatest(F("push_sequence") + 1, DbNowMs())
"""The next sequence, for an UPDATE: higher than the last one, and at least the time in milliseconds.

Because of the time, it is higher than earlier sequences also after a backup was restored or an id was reused.
"""

STEP: Final = {"changed_sequence": NEXT_SEQUENCE, "push_sequence": NEXT_SEQUENCE, "date_last_updated": DbNow()}
"""The columns that an UPDATE of changed profiles writes.

MariaDB assigns from left to right, so ``push_sequence`` comes after the column that is computed from it.
"""


class _Computed:
    """SQL that a save writes into a column.

    It is not a full expression. From Django 6.0 on, a save reads the result of each expression back. If the database
    can't return the results, Django reads each with a further query when the attribute is used.
    """

    def __init__(self, sql: Expression, *, after: str = "") -> None:
        self._sql, self._after = sql, after

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        sql, parameters = compiler.compile(self._sql)
        if self._after:
            greatest = "MAX" if connection.vendor == "sqlite" else "GREATEST"
            sql = f"{greatest}({connection.ops.quote_name(self._after)} + 1, {sql})"
        return sql, parameters


# Made once, because making an expression costs more than compiling it.
_FIRST: Final = _Computed(DbNowMs())
_NEXT: Final = _Computed(DbNowMs(), after="push_sequence")
_NOW: Final = _Computed(DbNow())


class SequenceField(models.BigIntegerField):  # type: ignore[type-arg]
    """A sequence that each save steps. The model declares its columns in the order of :data:`STEP`."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        return _FIRST if add else _NEXT


class SavedAtField(models.DateTimeField):  # type: ignore[type-arg]
    """The time of the last save, by the database's clock."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        return _NOW
