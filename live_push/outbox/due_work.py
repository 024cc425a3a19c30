"""Which endpoints have due deliveries that a worker may claim, and of which priorities."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import connections

from live_push.models import ClientEndpoint, Delivery
from live_push.models.clock import db_now
from live_push.models.endpoint_state import has_rested

from . import dialect, sql
from .claim_request import ClaimRequest


class DueWork(NamedTuple):
    """An endpoint's version, and the priorities of its due deliveries, the most urgent first."""

    version: int
    priorities: list[int]


def find_due_work(request: ClaimRequest, *, using: str) -> dict[int, DueWork]:
    """Return what is due at the endpoints that have due deliveries and do not rest, by id."""
    values: dict[str, Any] = {}
    look = sql.fill(
        sql.LOOK,
        using=using,
        priorities=sql.PRIORITIES,
        now=dialect.time_of_database(values, "now", using=using),
        wanted=wanted_condition(values, request, using=using),
    )
    with connections[using].cursor() as cursor:
        cursor.execute(look, values)
        rows = cursor.fetchall()
    due: dict[int, DueWork] = {}
    for pk, version, priority in rows:
        due.setdefault(pk, DueWork(version, [])).priorities.append(priority)
    return due


def wanted_condition(values: dict[str, Any], request: ClaimRequest, *, using: str) -> str:
    """Return the condition on the deliveries (``d``) that this claim may take."""
    condition = "d.stalls > 0" if request.isolated else "d.stalls = 0"
    if request.only is None:
        return condition
    return f"{condition} AND {dialect.any_of(values, 'd.id', request.only, using=using, name='only')}"


def isolated_deliveries_due(*, using: str) -> bool:
    """Return whether an isolated delivery is due: it was being sent when a worker died, so it is claimed by itself."""
    now = db_now(using)
    isolated = Delivery.objects.using(using).isolated().due(now)
    # Include the endpoints that need credentials: the claim checks again whether their secrets can be read by now.
    rested = ClientEndpoint.objects.using(using).active().filter(has_rested(now))
    return isolated.filter(endpoint__in=rested).exists()
