"""A column that only the outbox changes. ``save()`` does not, because an instance in memory may be older than its row.

Compare :mod:`~live_push.models.tracked`: ``save()`` writes a tracked column if it was changed on the instance.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Model

from .tracked import CurrentValue


class OwnedBigIntegerField(models.BigIntegerField):  # type: ignore[type-arg]
    """A whole number that only an INSERT or an explicit UPDATE writes."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        return super().pre_save(model_instance, add) if add else CurrentValue(self.column or "")
