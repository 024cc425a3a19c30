"""The stored convergence: workers count it in slices, and commands and pages read it with its age.

The cost of a count grows with the number of members. So the workers share one count, of which only one worker at a time
reads a slice, and together they count for at most a twentieth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet

from live_push.models import ClientEndpoint, StoredConvergence
from live_push.models.clock import DbNow, db_now
from live_push.models.transactions import in_transaction, lock_free, retried

from .convergence import Convergence
from .convergence_slices import ConvergenceCount, read_slice

FEW_PROFILES: Final = 2_000
"""With at most this number of profiles, the convergence is counted whenever it is read."""

PROFILES_PER_SLICE: Final = 5_000

PAUSE_TIMES: Final = 19
"""After a slice that took t seconds, the next one is counted 19 t seconds later at the earliest."""

LEASE: Final = timedelta(minutes=5)
"""When another worker goes on after the one that counts a slice was killed. A slice takes milliseconds."""

EVERY: Final = timedelta(minutes=1)
"""The time between the beginnings of two counts, if a count takes less."""

CATCHING_UP_OVER: Final = timedelta(minutes=1)
"""How long the time without counting may have been that a call makes up for."""

RESTART_AFTER: Final = timedelta(hours=1)
"""A count that was left for longer begins anew, because its first slices are too old."""


def known_convergence(endpoints: Collection[ClientEndpoint], *, using: str) -> dict[int, Convergence]:
    """Return the convergence of these endpoints by id, as far as it is known at little cost.

    With few members it is counted now. With more members it is what workers have counted, and endpoints that they have
    not counted yet are missing. It takes two statements at most, which read one slice at most.
    """
    if not endpoints:
        return {}
    row = StoredConvergence.objects.using(using).filter(pk=StoredConvergence.THE_ROW).first()
    count = ConvergenceCount.from_json(row.complete) if row is not None else None
    if count is None or count.profiles <= FEW_PROFILES:
        current = ConvergenceCount.begin((endpoint.pk, endpoint.version) for endpoint in endpoints)
        current.add(read_slice(size=FEW_PROFILES + 1, using=using))
        count = current if current.is_complete else count
    found = [count.convergence(endpoint) for endpoint in endpoints] if count is not None else []
    return {figure.endpoint_id: figure for figure in found if figure is not None}


@dataclass(frozen=True)
class Turn:
    """Whether slices were counted, and in how many seconds the next one may be counted."""

    counted: bool
    seconds_until_next: float


def count_next_slice(*, using: str, catching_up: bool = False) -> Turn:
    """Count the next slice if it is due and no other worker is counting one. It does not wait for locks.

    With ``catching_up`` it makes up for the time since the slice became due, at most a minute: it counts slices for a
    twentieth of this time. Use it where calls are rare. A cron job would otherwise count one slice a minute.
    """
    began = time.monotonic()
    row, now = _read_row(using=using)
    overdue = now - row.next_slice_at
    lease = now + LEASE
    if overdue < timedelta(0) or not _take_lease(row.next_slice_at, lease, using=using):
        return Turn(False, max(0.0, -overdue.total_seconds()))
    count = ConvergenceCount.from_json(row.under_way) if overdue < RESTART_AFTER else None
    if count is None:
        versions = ClientEndpoint.objects.using(using).order_by("pk").values_list("pk", "version")
        count = ConvergenceCount.begin(versions, now)
    since = max(row.next_slice_at, now - CATCHING_UP_OVER) if catching_up else now
    most_seconds = (now - since).total_seconds() / (PAUSE_TIMES + 1)
    while True:
        count.add(read_slice(after=count.last_id, size=PROFILES_PER_SLICE, using=using))
        took = time.monotonic() - began
        if count.is_complete or took >= most_seconds:
            break
    next_slice_at = since + timedelta(seconds=(PAUSE_TIMES + 1) * took)
    if count.is_complete:
        next_slice_at = max(next_slice_at, (count.began_at or now) + EVERY)
        results = {"complete": count.as_json(), "under_way": {}}
    else:
        results = {"under_way": count.as_json()}
    # It waits for the lock of another worker that looks just now. Skipping the row would lose the slice.
    due = _row_due_at(lease, using=using)
    retried(lambda: due.update(next_slice_at=next_slice_at, **results), using=using)
    return Turn(True, max(0.0, (next_slice_at - now).total_seconds() - took))


def _read_row(*, using: str) -> tuple[StoredConvergence, datetime]:
    """Return the row, which is created if it is missing, and the time of the database."""
    rows = StoredConvergence.objects.using(using).filter(pk=StoredConvergence.THE_ROW)
    row = rows.annotate(now=DbNow()).first()
    if row is not None:
        return row, row.now
    # Not DbNow(): SQLite compares times as texts, and Python writes some of them differently.
    now = db_now(using)
    StoredConvergence.objects.using(using).bulk_create([StoredConvergence(next_slice_at=now)], ignore_conflicts=True)
    return rows.get(), now


def _take_lease(due_at: datetime, lease: datetime, *, using: str) -> bool:
    """Return false if another worker has taken the lease, or has locked the row because it is taking it."""
    due = _row_due_at(due_at, using=using)

    def take() -> bool:
        return bool(lock_free(due, [StoredConvergence.THE_ROW]) and due.update(next_slice_at=lease))

    return in_transaction(take, using=using)


def _row_due_at(moment: datetime, *, using: str) -> QuerySet[StoredConvergence]:
    return StoredConvergence.objects.using(using).filter(pk=StoredConvergence.THE_ROW, next_slice_at=moment)
