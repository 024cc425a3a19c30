"""Find the database where rows are written, and the one where they are read. A router may choose different ones.

A router may send reads to a replica, where writes fail or are lost. So ``queryset.db`` and ``instance._state.db`` say
where something was read, and not where to write. No other module uses these attributes.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, router
from django.db.models import SET_NULL, Model, QuerySet
from django.db.models.deletion import Collector


def written_to(rows: QuerySet[Any]) -> str:
    """Return the alias of the database where these rows are written.

    If the caller chose an alias with ``using()``, return that one; otherwise ask the router.
    """
    # Rows can only be locked where they are written, so select_for_update() asks the router for that database.
    return rows.select_for_update().db


def read_from(rows: QuerySet[Any]) -> str:
    """Return the alias of the database that these rows are read from, which may be a replica."""
    return rows.db


def lives_in(model: type[Model], using: str) -> bool:
    """Return whether a database has the model's table.

    Costs no query for the database where the router writes the model, and one query for another that it allows.
    """
    if using == router.db_for_write(model):
        return True
    if not router.allow_migrate_model(using, model):
        return False
    return has_table(model, using)


def has_table(model: type[Model], using: str) -> bool:
    """Return whether the model's table exists in a database; before ``migrate`` it does not. Costs one query."""
    connection = connections[using]
    with connection.cursor() as cursor:
        return model._meta.db_table in connection.introspection.table_names(cursor)


def set_null_where_it_lives(collector: Collector, field: Any, sub_objs: Any, using: str) -> None:
    """Like ``SET_NULL``, but do nothing in a database without the table that refers to the deleted row."""
    if lives_in(field.model, using):
        SET_NULL(collector, field, sub_objs, using)


# With this, Django passes the rows as a lazy queryset. Without the table, the queryset could not be evaluated.
set_null_where_it_lives.lazy_sub_objs = True  # type: ignore[attr-defined]
