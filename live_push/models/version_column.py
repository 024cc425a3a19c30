"""A column that each write of its row changes, so that a copy in memory can be compared with the row."""

from __future__ import annotations

import secrets
from typing import Any

from django.db import models
from django.db.models import Model


def new_version() -> int:
    """Return a random number that no earlier version of a row has: from 0 to 2**62 - 1.

    It does not count the writes. After a fixture or a backup was loaded, or a row was deleted and created again, a
    count would reach a number again that already belonged to other contents.
    """
    return secrets.randbits(62)


class VersionField(models.BigIntegerField):  # type: ignore[type-arg]
    """A whole number that each save changes. Other writes must assign a :func:`new_version` themselves."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        version = new_version()
        setattr(model_instance, self.attname, version)
        return version
