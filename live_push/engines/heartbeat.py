"""Heartbeats of workers.

Operators see from a heartbeat that a worker runs. Other workers see that its claimed deliveries will be sent: they
release the claims of a worker whose heartbeat is too old.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any, Final

from django.db import connections

from live_push.models import WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.outbox import dialect

EVERY_SECONDS: Final = 5.0
"""Time between two heartbeats of a worker."""


class Heartbeat:
    """The heartbeat of one worker. Use it in the thread that owns the connection to the database."""

    def __init__(self, name: str, engine: str, *, using: str, monotonic: Callable[[], float]) -> None:
        self.name, self.engine, self.using, self.monotonic = name, engine, using, monotonic
        self._next = math.inf
        self._is_written = False
        self.is_asleep = False

    def write(self, *, is_asleep: bool | None = None) -> None:
        """Write the heartbeat now. ``is_asleep`` changes whether the worker waits to be notified of recorded pushes."""
        self._next = self.monotonic() + EVERY_SECONDS
        self._is_written = True
        written = self.is_asleep if is_asleep is None else is_asleep
        beat(self.name, self.engine, using=self.using, is_asleep=written)
        self.is_asleep = written

    def write_if_due(self) -> None:
        """Write the heartbeat if the last one is 5 s old. Call this often while claimed deliveries are held."""
        if self._next == math.inf:
            # The first call writes nothing, because a run that ends within 5 s needs no heartbeat.
            self._next = self.monotonic() + EVERY_SECONDS
        elif self.monotonic() >= self._next:
            self.write()

    def remove(self) -> None:
        """Remove the heartbeat, if one was written. Call this when no claimed delivery is held any more."""
        if self._is_written:
            WorkerHeartbeat.objects.using(self.using).filter(name=self.name).delete()


def beat(name: str, engine: str, *, using: str, is_asleep: bool = False) -> None:
    """Write a heartbeat: one statement, except for the first."""
    values: dict[str, Any] = {"name": name, "is_asleep": is_asleep}
    now = dialect.time_of_database(values, "now", using=using)
    table = connections[using].ops.quote_name(WorkerHeartbeat._meta.db_table)
    with connections[using].cursor() as cursor:
        written = f"seen_at = {now}, is_asleep = %(is_asleep)s"
        cursor.execute(f"UPDATE {table} SET {written} WHERE name = %(name)s", values)  # noqa: S608  (our own words)
        is_known = cursor.rowcount > 0
    if not is_known:
        moment = db_now(using)
        first = {"engine": engine, "started_at": moment, "seen_at": moment, "is_asleep": is_asleep}
        # Two tasks of one host may write the first heartbeat at the same time.
        WorkerHeartbeat.objects.using(using).get_or_create(name=name, defaults=first)


def name_for_tasks(engine: str) -> str:
    """Return one name for all tasks of an engine on this host.

    Task queues and cron start too many processes to give each one its own heartbeat.
    """
    return f"{socket.gethostname()[:60]}-{engine}"
