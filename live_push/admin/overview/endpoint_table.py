"""The table of the overview: one row for each endpoint, sorted by the column that the query names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Sum
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from live_push.admin.shared import formatting
from live_push.figures import pages
from live_push.figures.pages import Share
from live_push.models import ClientEndpoint
from live_push.models.hours import EndpointHourQuerySet
from live_push.outbox.hours import percentile

TROUBLE: Final = {"bad": 0, "warn": 1}
DEFAULT: Final = "state"
"""The column to sort by if the query names none: the endpoints with problems first."""


def _converged(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: getattr(row["convergence"], name, None)


TABLE_COLUMNS: Final[Mapping[str, tuple[Any, Callable[[dict[str, Any]], Any]]]] = {
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
"""Heading and sort key of each column. Rows whose key is ``None``, for unknown, come last."""


@dataclass(frozen=True)
class Heading:
    """A heading that is a link. It sorts by its column, and in reverse if the table is sorted by it already."""

    name: Any
    address: str
    direction: str


def sort(rows: list[dict[str, Any]], order: str) -> list[dict[str, Any]]:
    """Return the rows sorted by a column, in reverse if ``-`` is before its name; then by the endpoint's name.

    An unknown column stands for the default.
    """
    column = order.removeprefix("-")
    _name, key = TABLE_COLUMNS.get(column, TABLE_COLUMNS[DEFAULT])
    by_name = sorted(rows, key=lambda row: row["endpoint"].name)
    known = [row for row in by_name if key(row) is not None]
    unknown = [row for row in by_name if key(row) is None]
    return sorted(known, key=key, reverse=order.startswith("-")) + unknown


def headings(request: HttpRequest, order: str) -> list[Heading]:
    """Return the headings. Their links keep the period and the endpoint."""
    links = []
    for column, (name, _key) in TABLE_COLUMNS.items():
        query = request.GET.copy()
        query["sort"] = f"-{column}" if order == column else column
        direction = {column: "ascending", f"-{column}": "descending"}.get(order, "")
        links.append(Heading(name, f"?{query.urlencode()}", direction))
    return links


def endpoint_rows(
    endpoints: list[ClientEndpoint],
    statistics: EndpointHourQuerySet,
    waiting: Mapping[int, pages.WaitingFigures],
    now: datetime,
) -> list[dict[str, Any]]:
    """Return one row for each endpoint, in the default order."""
    shares, converged, durations = pages.shares(statistics), pages.converged(endpoints), accepted_durations(statistics)
    rows = [
        {
            "endpoint": endpoint,
            "badge": formatting.endpoint_badge(endpoint, endpoint.health, now),
            "percent": (share := shares.get(endpoint.pk, Share())).percent,
            "share": formatting.share(share),
            "left_out": share.left_out,
            "p50_ms": (p50 := percentile(durations.get(endpoint.pk, {}), 0.5)),
            "p50": at_most(p50),
            "p99_ms": (p99 := percentile(durations.get(endpoint.pk, {}), 0.99)),
            "p99": at_most(p99),
            "waiting": waiting.get(endpoint.pk, pages.WaitingFigures()).deliveries,
            "oldest": formatting.moment(waiting.get(endpoint.pk, pages.WaitingFigures()).oldest_due_at, now),
            "convergence": (figure := converged.get(endpoint.pk)),
            "counted": formatting.counted(figure, now),
        }
        for endpoint in endpoints
    ]
    return sort(rows, DEFAULT)


def accepted_durations(statistics: EndpointHourQuerySet) -> Mapping[int, Mapping[int, int]]:
    """Return, by endpoint, the number of accepted attempts for each upper bound of the duration in milliseconds."""
    durations: dict[int, dict[int, int]] = {}
    hours = statistics.accepted().order_by()
    for pk, within_ms, count in hours.values_list("endpoint", "within_ms").annotate(Sum("attempts")):
        durations.setdefault(pk, {})[within_ms] = count
    return durations


def at_most(milliseconds: int | None) -> str:
    """Return a percentile as text. Durations are stored as upper bounds, so it is one as well."""
    return formatting.NOTHING if milliseconds is None else f"≤ {formatting.milliseconds(milliseconds)}"
