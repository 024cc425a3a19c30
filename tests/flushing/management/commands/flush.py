"""Empty the tables that hold rows, and leave Django's content types and permissions as they are."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.core.management.commands import flush
from django.db import connections

KEPT = {ContentType._meta.db_table, Permission._meta.db_table}
"""Django's ``flush`` empties these too and fills them again, by ``post_migrate``: 20 ms of CPU after each test."""

MOST_BYTES = 256 * 1024
"""Of a table whose rows are deleted one by one on PostgreSQL. Deleted rows stay in its file and slow down searches."""


class Command(flush.Command):
    help = "Empty the tables of the test database that hold rows, except for content types and permissions."

    def handle(self, **options: Any) -> None:
        connection = connections[options["database"]]
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        tables = sorted(set(names) - KEPT)
        filled, is_large = self._look(connection, tables)
        if connection.vendor == "postgresql" and not is_large:
            # TRUNCATE gives each table and each index a new file: 100 ms and more for all of them.
            statements = [f"DELETE FROM {connection.ops.quote_name(table)}" for table in filled]  # noqa: S608
        else:
            # Only TRUNCATE needs the tables that refer to the filled ones.
            statements = connection.ops.sql_flush(no_style(), tables if is_large else filled)
        connection.ops.execute_sql_flush(statements)

    @staticmethod
    def _look(connection: Any, tables: list[str]) -> tuple[list[str], bool]:
        """Return the tables that hold rows, and whether PostgreSQL keeps a large file for one of the tables."""
        size = "pg_relation_size('{table}')" if connection.vendor == "postgresql" else "0"
        look = f"SELECT '{{table}}', EXISTS (SELECT 1 FROM {{quoted}}), {size}"  # noqa: S608
        looks = (look.format(table=table, quoted=connection.ops.quote_name(table)) for table in tables)
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(looks))
            rows = cursor.fetchall()
        return [table for table, has_rows, _ in rows if has_rows], any(size > MOST_BYTES for _, _, size in rows)
