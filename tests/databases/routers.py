"""The routers of the Django documentation's chapter on several databases, with the names of these tests."""

from __future__ import annotations

from typing import Any

from django.db.models import Model


class PrimaryReplicaRouter:
    """Reads from the replica, writes to the primary."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        databases = {"default", "replica"}
        return True if obj1._state.db in databases and obj2._state.db in databases else None

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        return True


class LegacyRouter:
    """The database ``legacy`` holds users and nothing of live_push."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        return False if db == "legacy" and app_label == "live_push" else None
