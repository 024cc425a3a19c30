"""Hourly statistics: counted at settlement, read by the pages that show 24 hours and 7 days."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from live_push.models import EndpointHour

if TYPE_CHECKING:
    from .settle import Verdict

WITHIN_MS: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 600_000)
"""Upper bounds of the durations that are counted together, in milliseconds; longer ones are counted with the last."""

_INSERT = "INSERT INTO {table} (endpoint_id, hour, error_code, within_ms, attempts) VALUES {rows} "
_ADD = {
    "mysql": "ON DUPLICATE KEY UPDATE attempts = attempts + VALUES(attempts)",
    "postgresql": "ON CONFLICT (hour, endpoint_id, error_code, within_ms) "
    "DO UPDATE SET attempts = {table}.attempts + excluded.attempts",
}
_ADD["sqlite"] = _ADD["postgresql"]


def note(verdicts: Iterable[Verdict], now: datetime, *, using: str) -> None:
    """Count attempts into the present hour, in the caller's transaction: one statement, however many there are."""
    counts = Counter(
        (verdict.attempt.delivery.endpoint_id, verdict.attempt.error_code, bound(verdict)) for verdict in verdicts
    )
    if not counts:
        return
    connection = connections[using]
    table = connection.ops.quote_name(EndpointHour._meta.db_table)
    hour = connection.ops.adapt_datetimefield_value(now.replace(minute=0, second=0, microsecond=0))
    values: list[Any] = []
    # In one order everywhere, so that two settlements never wait for each other's rows.
    for (endpoint_id, error_code, within_ms), attempts in sorted(counts.items()):
        values += [endpoint_id, hour, error_code, within_ms, attempts]
    sql = _INSERT + _ADD[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql.format(table=table, rows=", ".join(["(%s, %s, %s, %s, %s)"] * len(counts))), values)


def bound(verdict: Verdict) -> int:
    """The upper bound that the attempt's duration is counted under."""
    place = bisect_left(WITHIN_MS, verdict.outcome.result.duration_ms)
    return WITHIN_MS[min(place, len(WITHIN_MS) - 1)]


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """Milliseconds within which that share (0 to 1) of the counted attempts ended, as an upper bound; pure.

    ``counts`` has the number of attempts by upper bound. ``None`` where there are none.
    """
    wanted = share * sum(counts.values())
    reached = 0
    for within_ms in sorted(counts):
        reached += counts[within_ms]
        if reached >= wanted > 0:
            return within_ms
    return None


def forget(before: datetime, *, using: str) -> int:
    """Delete the hours that began before that moment; returns the number of rows."""
    return EndpointHour.objects.using(using).filter(hour__lt=before).delete()[0]
