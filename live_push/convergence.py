"""The convergence figure: how far each endpoint has caught up with the members' latest states.

It is counted from what endpoints have confirmed, never from the delivery log, so it stays right after pruning and its
cost does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Func, IntegerField, Min, Q, QuerySet, Subquery

from .models import ClientEndpoint, UserProfile


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How many profiles stand where with one endpoint; the three counts add up to all profiles.

    ``confirmed``
        It has accepted the latest state.
    ``behind``
        It has accepted a state, but not the latest.
    ``never_sent``
        It has accepted nothing yet.
    ``behind_since``
        Aware; of the latest states that wait for acceptance, when the oldest came about. ``None`` where none is behind.
    """

    endpoint_id: int
    endpoint: str
    is_active: bool
    confirmed: int
    behind: int
    never_sent: int
    behind_since: datetime | None


def convergence(*, using: str, endpoint_ids: Collection[int] | None = None) -> list[Convergence]:
    """One figure for each endpoint (or each of ``endpoint_ids``), by name: one statement for all of them."""
    return [
        Convergence(
            endpoint_id=row["pk"],
            endpoint=row["name"],
            is_active=row["is_active"],
            confirmed=row["confirmed"],
            behind=row["behind"],
            never_sent=row["profiles"] - row["confirmed"] - row["behind"],
            behind_since=row["behind_since"],
        )
        for row in rows(using=using, endpoint_ids=endpoint_ids)
    ]


def rows(*, using: str, endpoint_ids: Collection[int] | None = None) -> QuerySet[Any, Any]:
    """The statement behind :func:`convergence`."""
    endpoints = ClientEndpoint.objects.using(using)
    if endpoint_ids is not None:
        endpoints = endpoints.filter(pk__in=endpoint_ids)
    latest = F("confirmations__profile__changed_sequence")
    behind = Q(confirmations__sequence__lt=latest)
    profiles = UserProfile.objects.order_by().annotate(profiles=Func(F("pk"), function="COUNT")).values("profiles")
    # Grouped by these columns alone: without values() first, SQLite would group by all the endpoint has.
    figures = endpoints.values("pk", "name", "is_active").annotate(
        # A confirmation whose profile raw SQL deleted joins nothing, and so is neither.
        confirmed=Count("confirmations", filter=Q(confirmations__sequence__gte=latest)),
        behind=Count("confirmations", filter=behind),
        behind_since=Min("confirmations__profile__date_last_updated", filter=behind),
        profiles=Subquery(profiles, output_field=IntegerField()),
    )
    return figures.order_by("name")
