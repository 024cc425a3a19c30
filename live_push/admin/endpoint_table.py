"""The overview's table: one row for each endpoint, sorted by the column that the address names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Sum
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from live_push.delivery.statistics import percentile
from live_push.models import ClientEndpoint
from live_push.models.statistics import EndpointHourQuerySet

from . import figures, words
from .figures import Share

TROUBLE: Final = {"bad": 0, "warn": 1}
DEFAULT: Final = "state"
"""Trouble first."""


def _converged(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: getattr(row["convergence"], name, None)


COLUMNS: Final[Mapping[str, tuple[Any, Callable[[dict[str, Any]], Any]]]] = {
    "name": (_("Endpoint"), lambda row: row["endpoint"].name),
    "state": (_("State"), lambda row: TROUBLE.get(row["badge"].tone, 2)),
    "accepted": (_("Accepted"), lambda row: row["percent"]),
    "p50": ("p50", lambda row: row["p50_ms"]),
    "p99": ("p99", lambda row: row["p99_ms"]),
    "waiting": (_("Waiting"), lambda row: row["waiting"]),
    "confirmed": (_("Confirmed"), _converged("confirmed")),
    "behind": (_("Behind"), _converged("behind")),
    "never_sent": (_("Never sent"), _converged("never_sent")),
}
"""What each heading says, and what its column is sorted by; a value of ``None`` is unknown and stands last."""


@dataclass(frozen=True)
class Heading:
    """A heading as a link that sorts by its column, the other way round where it is sorted so already."""

    name: Any
    address: str
    direction: str


def sort(rows: list[dict[str, Any]], order: str) -> list[dict[str, Any]]:
    """By a column, the other way round with a ``-`` before its name; equal ones by name, trouble first for nonsense."""
    column = order.removeprefix("-")
    _name, key = COLUMNS.get(column, COLUMNS[DEFAULT])
    by_name = sorted(rows, key=lambda row: row["endpoint"].name)
    known = [row for row in by_name if key(row) is not None]
    unknown = [row for row in by_name if key(row) is None]
    return sorted(known, key=key, reverse=order.startswith("-")) + unknown


def headings(request: HttpRequest, order: str) -> list[Heading]:
    """The headings; the links keep period and endpoint."""
    found = []
    for column, (name, _key) in COLUMNS.items():
        query = request.GET.copy()
        query["sort"] = f"-{column}" if order == column else column
        direction = {column: "ascending", f"-{column}": "descending"}.get(order, "")
        found.append(Heading(name, f"?{query.urlencode()}", direction))
    return found


def endpoint_rows(
    endpoints: list[ClientEndpoint], statistics: EndpointHourQuerySet, now: datetime
) -> list[dict[str, Any]]:
    """One row for each endpoint, trouble first."""
    shares, waiting = figures.shares(statistics), figures.waiting([endpoint.pk for endpoint in endpoints])
    converged, durations = figures.converged_by_endpoint(), accepted_durations(statistics)
    rows = [
        {
            "endpoint": endpoint,
            "badge": words.endpoint_badge(endpoint, endpoint.health, now),
            "percent": (share := shares.get(endpoint.pk, Share())).percent,
            "share": words.share(share),
            "p50_ms": (p50 := percentile(durations.get(endpoint.pk, {}), 0.5)),
            "p50": at_most(p50),
            "p99_ms": (p99 := percentile(durations.get(endpoint.pk, {}), 0.99)),
            "p99": at_most(p99),
            "waiting": waiting.get(endpoint.pk, figures.Waiting()).deliveries,
            "oldest": words.moment(waiting.get(endpoint.pk, figures.Waiting()).oldest_due_at, now),
            "convergence": converged.get(endpoint.pk),
        }
        for endpoint in endpoints
    ]
    return sort(rows, DEFAULT)


def accepted_durations(statistics: EndpointHourQuerySet) -> Mapping[int, Mapping[int, int]]:
    """How many accepted attempts ended within how many milliseconds, by endpoint."""
    found: dict[int, dict[int, int]] = {}
    hours = statistics.accepted().order_by()
    for pk, within_ms, count in hours.values_list("endpoint", "within_ms").annotate(Sum("attempts")):
        found.setdefault(pk, {})[within_ms] = count
    return found


def at_most(milliseconds: int | None) -> str:
    """A percentile, which is known as an upper bound."""
    return words.NOTHING if milliseconds is None else f"≤ {words.milliseconds(milliseconds)}"
