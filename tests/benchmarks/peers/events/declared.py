"""A member changed: one field for each column."""

from __future__ import annotations

from dataclasses import make_dataclass
from datetime import date, datetime
from typing import Any

from django.db import models
from django_domain_events import event, fire

from tests.benchmarks.rows.models import Bare

NAME = "benchmarks.MemberChanged"
KINDS: dict[type[models.Field[Any, Any]], type] = {
    models.BooleanField: bool,
    models.IntegerField: int,
    models.DateTimeField: datetime,
    models.DateField: date,
}


def _kind(column: models.Field[Any, Any]) -> type:
    return next((kind for field, kind in KINDS.items() if isinstance(column, field)), str)


# Its payloads are flat, so the one JSON column stays away.
COLUMNS = [column for column in Bare._meta.concrete_fields if not isinstance(column, models.JSONField)]
MemberChanged = event(name=NAME)(
    make_dataclass("MemberChanged", [(column.name, _kind(column) | None) for column in COLUMNS], frozen=True)
)


def tell(row: Bare) -> None:
    """Fire it, in the open transaction."""
    fire(MemberChanged(**{column.name: getattr(row, column.name) for column in COLUMNS}))
