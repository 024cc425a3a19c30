"""Hourly statistics. Each settlement counts its attempts; the pages that show 24 hours or 7 days read the counts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from live_push.models import EndpointHour

from . import dialect, sql
from .verdict import Verdict

WITHIN_MS: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 600_000)
"""The upper bounds, in milliseconds, of the ranges of durations. Longer durations are counted in the last range."""


_UNIQUE: Final = ("hour", "endpoint_id", "error_code", "within_ms")


def count_attempts(verdicts: Iterable[Verdict], now: datetime, *, using: str) -> list[dialect.Statement]:
    """Return the statements that count attempts in the current hour."""
    counts = Counter(
        (verdict.outcome.delivery.endpoint_id, verdict.attempt.error_code, bound(verdict)) for verdict in verdicts
    )
    hour = _hour(now, using=using)
    # Always in the same order, so that two settlements can't deadlock.
    rows = [
        (endpoint_id, hour, error_code, within_ms, attempts)
        for (endpoint_id, error_code, within_ms), attempts in sorted(counts.items())
    ]
    table = sql.tables(using)["hour"]
    added = dialect.upsert(_UNIQUE, {"attempts": "{old} + {new}"}, table=table, using=using)
    return dialect.inserts(table, sql.HOURS, rows, name="hour", using=using, conflict=added) if rows else []


def count_left_out(endpoint_id: int, count: int, now: datetime, *, using: str) -> list[dialect.Statement]:
    """Return the statement that counts deliveries which held nothing new, in the current hour."""
    table = sql.tables(using)["hour"]
    row = (endpoint_id, _hour(now, using=using), "", 0, 0, count)
    added = dialect.upsert(_UNIQUE, {"left_out": "{old} + {new}"}, table=table, using=using)
    return dialect.inserts(table, sql.LEFT_OUT, [row], name="left_out", using=using, conflict=added)


def _hour(now: datetime, *, using: str) -> Any:
    return dialect.adapt_moment(now.replace(minute=0, second=0, microsecond=0), using=using)


def bound(verdict: Verdict) -> int:
    """Return the upper bound of the range in which the attempt's duration is counted, in milliseconds."""
    index = bisect_left(WITHIN_MS, verdict.outcome.result.duration_ms)
    return WITHIN_MS[min(index, len(WITHIN_MS) - 1)]


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """Return the duration in milliseconds within which this share (0 to 1) of the attempts ended.

    The result is an upper bound from ``counts``, which has the number of attempts by upper bound. Returns ``None`` if
    there are no attempts.
    """
    wanted = share * sum(counts.values())
    reached = 0
    for within_ms in sorted(counts):
        reached += counts[within_ms]
        if reached >= wanted > 0:
            return within_ms
    return None


def forget(before: datetime, *, using: str) -> int:
    """Delete the statistics of hours that began before this time, and return the number of rows."""
    return EndpointHour.objects.using(using).filter(hour__lt=before).delete()[0]
