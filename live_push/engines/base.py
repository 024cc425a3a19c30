"""The base class of the engines, and the engine that the setting ``ENGINE`` names."""

from __future__ import annotations

from functools import lru_cache

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from live_push import conf
from live_push.outbox import idle, uncertain
from live_push.outbox.catch_up import catch_up
from live_push.outbox.outside import end_outside


class Engine:
    """Runs deliveries. Subclasses implement how the engine is woken."""

    def wake(self, using: str) -> None:
        """Hint that deliveries are due in this database. Returns at once and does not raise.

        Hints may be lost or sent twice.
        """

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with this engine's configuration, for Django's system checks."""
        return []


def do_housekeeping(using: str) -> idle.Chores:
    """Do the outbox's periodic work, and return what there was to do. Every engine calls this every few seconds.

    It resends changes that were committed while their endpoint was being activated, and profiles of which a client may
    hold an older state than the newest one that it accepted. It ends what waits for endpoints whose audience does not
    hold the member any more. Each step runs in a transaction of its own.
    """
    chores = idle.chores(using=using)
    if chores.catch_up:
        catch_up(using=using)
    if chores.heal:
        uncertain.heal(using=using)
    if chores.outside:
        end_outside(using=using)
    return chores


def current_engine() -> Engine:
    """Return the engine that the setting ``ENGINE`` names: one instance per process."""
    return _load(conf.current().ENGINE)


@lru_cache(maxsize=8)
def _load(path: str) -> Engine:
    engine: Engine = import_string(path)()
    return engine
