"""Decide whether work is due that no worker does. The command's exit code and the admin's banner use the same rule."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

WORKER_SEEN_WITHIN: Final = timedelta(minutes=1)
"""A worker with an older heartbeat does not count as running."""

OVERDUE_AFTER: Final = timedelta(seconds=30)
"""A delivery that has been due for less time may be about to be claimed."""


def is_seen(heartbeat_at: datetime | None, now: datetime) -> bool:
    """Return whether a worker with this heartbeat counts as running. ``None`` means that no worker ever ran."""
    return heartbeat_at is not None and heartbeat_at > now - WORKER_SEEN_WITHIN


def undelivered_since(
    oldest_due_at: datetime | None, last_heartbeat_at: datetime | None, now: datetime
) -> datetime | None:
    """Return since when work has been due that no worker does; ``None`` if all is well.

    ``oldest_due_at`` is the earliest due time of deliveries to endpoints that may be sent to now.
    """
    if oldest_due_at is None or is_seen(last_heartbeat_at, now):
        return None
    return oldest_due_at if oldest_due_at <= now - OVERDUE_AFTER else None
