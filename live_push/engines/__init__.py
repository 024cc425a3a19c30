"""The engines, which run deliveries.

An engine claims due deliveries from the outbox, lets ``delivery/`` send them, and settles the results. The outbox alone
decides which deliveries exist and when they are due. Its rows are authoritative, and a wake-up is only a hint: if a
wake-up is lost, the next poll or sweep finds the due rows.

The setting ``ENGINE`` names one of: ``worker.WorkerEngine`` (processes of ``live_push_worker``, or a thread of the web
process), ``celery.CeleryEngine``, ``django_tasks.DjangoTasksEngine``, ``manual.ManualEngine`` (for tests).
"""

from __future__ import annotations

from . import autostart, base
from .base import Engine, current_engine

__all__ = ["Engine", "base", "current_engine", "wake"]


def wake(using: str) -> None:
    """Hint that deliveries are due in this database. Returns at once, even if the engine's broker is down."""
    autostart.start_if_wanted()
    current_engine().wake(using)
