"""A row as wide as a profile."""

from __future__ import annotations

from django.db import models

from live_push.models import UserProfile
from live_push.models.columns import OwnedByDatabase
from live_push.models.guarded import Guarded


class Bare(models.Model):
    """The columns of a profile but for those that others move too; nobody listens to it."""

    def __str__(self) -> str:
        return f"bare {self.pk}"


for column in UserProfile._meta.concrete_fields:
    if not (column.unique or column.is_relation or isinstance(column, OwnedByDatabase | Guarded)):
        Bare.add_to_class(column.name, column.clone())
