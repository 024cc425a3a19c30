"""Encrypt stored secrets, payloads and answers again, with the newest key.

Values are processed in batches, each in its own transaction, so the work can be stopped and started again at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import ExpressionWrapper, F, Value

from live_push.exceptions import SecretUnreadable
from live_push.secrets.fields import EncryptedTextField, StoredBytesField

VALUES_PER_TRANSACTION = 200
"""Size of a batch, in values."""


@dataclass(frozen=True)
class EncryptedColumn:
    """An encrypted column of a model. Its ``str`` is such as ``clientendpoint.password``."""

    model: type[models.Model]
    field: EncryptedTextField | StoredBytesField

    def __str__(self) -> str:
        return f"{self.model._meta.model_name}.{self.field.name}"


@dataclass
class RotationCounts:
    """The numbers of values by their state before the rotation.

    ``current``
        Values that were under the newest key.
    ``older``
        Values that were under an older key, or not encrypted although they should be.
    ``unreadable``
        Values that no configured key decrypts.
    """

    current: int = 0
    older: int = 0
    unreadable: int = 0


def encrypted_columns() -> list[EncryptedColumn]:
    """Return all encrypted columns of the app."""
    kinds = (EncryptedTextField, StoredBytesField)
    all_models = apps.get_app_config("live_push").get_models()
    return [
        EncryptedColumn(model, field)
        for model in all_models
        for field in model._meta.fields
        if isinstance(field, kinds)
    ]


def stored_values(column: EncryptedColumn, *, using: str) -> models.QuerySet[Any]:
    """Return the rows in which the column is not null, annotated with the value as it is stored: ``stored``."""
    rows = column.model._base_manager.using(using).filter(**{f"{column.field.name}__isnull": False})
    stored = ExpressionWrapper(F(column.field.name), output_field=_plain_field(column))
    annotated: models.QuerySet[Any] = rows.annotate(stored=stored)
    return annotated


def rotate_column(column: EncryptedColumn, *, using: str, dry_run: bool = False) -> Iterator[RotationCounts]:
    """Encrypt the values of a column with the newest key; yield the counts of each batch.

    Values under the newest key are not changed, so a run that was interrupted can be started again. A dry run changes
    nothing.
    """
    rows, last_pk = stored_values(column, using=using).order_by("pk"), 0
    while page := list(rows.filter(pk__gt=last_pk).values_list("pk", "stored")[:VALUES_PER_TRANSACTION]):
        yield _rotate_batch(column, page, using=using, dry_run=dry_run)
        last_pk = page[-1][0]


def _rotate_batch(
    column: EncryptedColumn, page: Sequence[tuple[int, Any]], *, using: str, dry_run: bool
) -> RotationCounts:
    counts = RotationCounts()
    with transaction.atomic(using=using):
        for pk, stored in page:
            value = stored if isinstance(stored, str) else bytes(stored)
            try:
                if column.field.is_current(value):  # type: ignore[arg-type]
                    counts.current += 1
                    continue
                rotated = column.field.rotated(value)  # type: ignore[arg-type]
            except SecretUnreadable:
                counts.unreadable += 1
                continue
            counts.older += 1
            if not dry_run:
                # Update only if the value is still the one that was read. A value written in the meantime is under the
                # newest key already.
                unchanged = stored_values(column, using=using).filter(pk=pk, stored=value)
                unchanged.update(**{column.field.name: Value(rotated, output_field=_plain_field(column))})
    return counts


def _plain_field(column: EncryptedColumn) -> models.Field[Any, Any]:
    """Return a field that reads and writes the column without decryption and encryption."""
    return models.TextField() if isinstance(column.field, EncryptedTextField) else models.BinaryField()
