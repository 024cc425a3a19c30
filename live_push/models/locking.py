"""Row locks, as weak as will do."""

from __future__ import annotations

from typing import TypeVar

from django.db import connections
from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def locked(rows: QuerySet[M], *, skip_locked: bool = False) -> QuerySet[M]:
    """The rows, locked until the transaction ends.

    Without touching keys where the database knows the difference, so that rows that merely refer to them can be
    inserted meanwhile; SQLite locks the whole database by the transaction itself.
    """
    features = connections[rows.db].features
    return rows.select_for_update(
        no_key=features.has_select_for_no_key_update,
        skip_locked=skip_locked and features.has_select_for_update_skip_locked,
    )
