"""The tasks that Celery discovers: those of the engine, and the clock of the tiers."""

from __future__ import annotations

from celery import shared_task  # type: ignore[import-untyped]

from . import api
from .engines.celery import look, options, sweep

__all__ = ["look", "sweep", "tiers"]


@shared_task(name="live_push.tiers", expires=3600, **options)  # type: ignore[untyped-decorator]
def tiers() -> int:
    """Apply the tier expiries and resets that are due, like ``live_push_tiers``; return how many members changed.

    Schedule it every hour. If the tiers of a program do not form a ladder, it raises an error after all others are
    done.
    """
    return api.apply_due_tier_changes()
