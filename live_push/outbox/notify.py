"""Notify sleeping workers of recorded pushes, on PostgreSQL.

A notification is a hint and carries nothing. The database delivers it at the commit, to all who listen in the same
database. A transaction that notifies commits more slowly, so it notifies only if a worker sleeps. A worker may fall
asleep between the recording and the commit; therefore it looks a few more times after it has written its mark.
"""

from __future__ import annotations

from typing import Final

from django.db import connections

from live_push import conf
from live_push.models import WorkerHeartbeat

CHANNEL: Final = "live_push"

ASLEEP_FOR_SECONDS: Final = 15
"""A worker that wrote its last heartbeat longer ago is not notified: it is probably dead."""


def notification_column(using: str) -> str:
    """Return a column for the SELECT of a statement on PostgreSQL. It notifies the workers if one of them sleeps.

    Empty if the setting ``NOTIFY_WORKERS`` is off: PostgreSQL can't prepare a transaction that has notified.
    """
    if not conf.current().NOTIFY_WORKERS:
        return ""
    table = connections[using].ops.quote_name(WorkerHeartbeat._meta.db_table)
    is_fresh = f"seen_at > STATEMENT_TIMESTAMP() - INTERVAL '{ASLEEP_FOR_SECONDS} s'"
    sleeping = f"SELECT 1 FROM {table} WHERE is_asleep AND {is_fresh} LIMIT 1"  # noqa: S608  (our own words)
    return f", (SELECT COUNT(PG_NOTIFY('{CHANNEL}', '')) FROM ({sleeping}) asleep)"  # noqa: S608  (our own words)
