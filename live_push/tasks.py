"""Where Celery's autodiscovery looks for tasks."""

from __future__ import annotations

from .engines.celery import look, sweep

__all__ = ["look", "sweep"]
