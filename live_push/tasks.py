"""Where Celery looks for tasks: those of the engine, and the clock of the tiers."""

from __future__ import annotations

from celery import shared_task  # type: ignore[import-untyped]

from . import api
from .engines.celery import look, options, sweep

__all__ = ["look", "sweep", "tiers"]


@shared_task(name="live_push.tiers", expires=3600, **options)  # type: ignore[untyped-decorator]
def tiers() -> int:
    """Apply the tier expiries and resets that are due, as ``live_push_tiers`` does; returns how many members changed.

    To be scheduled every hour. Fails after the rest is done where a program is no ladder.
    """
    return api.apply_due_tier_changes()
