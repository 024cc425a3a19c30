"""A row as wide as a profile."""

from __future__ import annotations

from django.db import models

from live_push.models import UserProfile
from live_push.models.owned_columns import OwnedBigIntegerField
from live_push.models.sequences import SavedAtField, SequenceField
from live_push.models.tracked import Tracked


class Bare(models.Model):
    """The columns of a profile but for those that others move too; nobody listens to it."""

    def __str__(self) -> str:
        return f"bare {self.pk}"


_OURS = (OwnedBigIntegerField, SavedAtField, SequenceField, Tracked)

for column in UserProfile._meta.concrete_fields:
    if not (column.unique or column.is_relation or isinstance(column, _OURS)):
        Bare.add_to_class(column.name, column.clone())
