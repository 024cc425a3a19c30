"""Text columns: ids, which compare byte by byte, and texts about a member, which are never blank."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from .tracked import Tracked


class IdField(models.CharField):  # type: ignore[type-arg]
    """A text that identifies something. Every database compares it byte by byte.

    MariaDB would otherwise ignore case and trailing blanks.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = dict(super().db_parameters(connection))
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_nopad_bin"
        return parameters


class BlankAsNull:
    """A mixin for texts that store null instead of a blank text, because the contract has no blank texts."""

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        return super().get_db_prep_save(None if value == "" else value, connection)  # type: ignore[misc]


class OptionalCharField(BlankAsNull, models.CharField):  # type: ignore[type-arg]
    """A text about a member, or null."""


class OptionalIdField(BlankAsNull, IdField):
    """A text about a member that identifies something else, or null."""


class TrackedCharField(Tracked, OptionalCharField):
    """A text about a member, or null. Saves of the linked user change it, too."""


class TrackedEmailField(BlankAsNull, Tracked, models.EmailField):  # type: ignore[type-arg]
    """A member's e-mail address, or null. Saves of the linked user change it, too."""


class ThirdPartyIdField(BlankAsNull, Tracked, IdField):
    """The client's id of a member, or null. Clients' answers change it, too."""
