"""Stored secrets, payloads and answers are brought under the newest key, in batches that can be stopped at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import ExpressionWrapper, F, Value

from .exceptions import SecretUnreadable
from .fields import EncryptedTextField, StoredBytesField

ROWS_PER_TRANSACTION = 200


@dataclass(frozen=True)
class Column:
    """One encrypted column."""

    model: type[models.Model]
    field: EncryptedTextField | StoredBytesField

    def __str__(self) -> str:
        return f"{self.model._meta.model_name}.{self.field.name}"


@dataclass
class Batch:
    """How many stored values of some rows are as they should be, were not (and now are), and can't be read at all."""

    current: int = 0
    older: int = 0
    unreadable: int = 0


def columns() -> list[Column]:
    """All encrypted columns of the app."""
    kinds = (EncryptedTextField, StoredBytesField)
    every = apps.get_app_config("live_push").get_models()
    return [Column(model, field) for model in every for field in model._meta.fields if isinstance(field, kinds)]


def stored_values(column: Column, *, using: str) -> models.QuerySet[Any]:
    """The rows where the column holds something, with what it holds as ``stored``, undeciphered."""
    rows = column.model._base_manager.using(using).filter(**{f"{column.field.name}__isnull": False})
    undeciphered = ExpressionWrapper(F(column.field.name), output_field=_undeciphered(column))
    found: models.QuerySet[Any] = rows.annotate(stored=undeciphered)
    return found


def rotate(column: Column, *, using: str, dry_run: bool = False) -> Iterator[Batch]:
    """Bring a column under the newest key; yields after each batch, which is a transaction of its own.

    What is under it already is left alone, so an interrupted run is simply begun again.
    """
    rows, last = stored_values(column, using=using).order_by("pk"), 0
    while page := list(rows.filter(pk__gt=last).values_list("pk", "stored")[:ROWS_PER_TRANSACTION]):
        yield _rotate(column, page, using=using, dry_run=dry_run)
        last = page[-1][0]


def _rotate(column: Column, page: Sequence[tuple[int, Any]], *, using: str, dry_run: bool) -> Batch:
    batch = Batch()
    with transaction.atomic(using=using):
        for pk, stored in page:
            value = stored if isinstance(stored, str) else bytes(stored)
            try:
                if column.field.is_current(value):  # type: ignore[arg-type]
                    batch.current += 1
                    continue
                rotated = column.field.rotated(value)  # type: ignore[arg-type]
            except SecretUnreadable:
                batch.unreadable += 1
                continue
            batch.older += 1
            if not dry_run:
                # Only where it still holds what was read: whoever wrote since has used the newest key.
                same = stored_values(column, using=using).filter(pk=pk, stored=value)
                same.update(**{column.field.name: Value(rotated, output_field=_undeciphered(column))})
    return batch


def _undeciphered(column: Column) -> models.Field[Any, Any]:
    return models.TextField() if isinstance(column.field, EncryptedTextField) else models.BinaryField()
