"""An app, so that its table is made."""

from __future__ import annotations

from django.apps import AppConfig


class RowsConfig(AppConfig):
    name = "tests.benchmarks.rows"
    label = "rows"
    default_auto_field = "django.db.models.BigAutoField"
