"""Signs of life: how operators know that somebody delivers."""

from __future__ import annotations

import socket
from datetime import datetime

from live_push.models import WorkerHeartbeat


def beat(name: str, engine: str, now: datetime, *, using: str) -> None:
    """Leave a sign of life: one statement, but for the first."""
    heartbeats = WorkerHeartbeat.objects.using(using)
    if not heartbeats.filter(name=name).update(seen_at=now):
        # Two tasks of one host may be the first at the same time.
        heartbeats.get_or_create(name=name, defaults={"engine": engine, "started_at": now, "seen_at": now})


def name_for_tasks(engine: str) -> str:
    """One name for all tasks of an engine on this host: queues and cron start too many processes to name each."""
    return f"{socket.gethostname()[:60]}-{engine}"
