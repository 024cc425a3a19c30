"""Who runs deliveries. An engine creates no work: the due rows are the truth, and a wake-up is only a hint."""

from __future__ import annotations

from functools import lru_cache

from django.utils.module_loading import import_string

from live_push import conf

from . import autostart
from .base import Engine

__all__ = ["Engine", "current", "wake"]


def current() -> Engine:
    """The engine that the setting names."""
    return _load(conf.current().ENGINE)


def wake(using: str) -> None:
    """Hint that work is due; costs the caller next to nothing, whatever state the engine is in."""
    autostart.start_if_wanted()
    current().wake(using)


@lru_cache(maxsize=8)
def _load(path: str) -> Engine:
    engine: Engine = import_string(path)()
    return engine
