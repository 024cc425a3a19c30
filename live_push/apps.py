"""Wiring only: no queries, and no threads outside a development server."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LivePushConfig(AppConfig):
    name = "live_push"
    verbose_name = _("Live push")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # noqa: F401  (importing them registers them)
        from .engines import autostart

        autostart.start_with_server()
