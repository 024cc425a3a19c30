"""Convergence: how many members' latest states each endpoint has confirmed.

It is counted from the confirmations, not from the delivery log. So pruning does not change it, and its cost does not
grow with the log.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Count, Exists, F, Func, IntegerField, Min, OuterRef, Q, QuerySet, Subquery, When

from live_push.models import Audience, ClientEndpoint, ListedBranding, UserProfile


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """The numbers of profiles by their state at one endpoint. The three numbers add up to all profiles in its audience.

    ``confirmed``
        The endpoint has accepted the latest state.
    ``behind``
        The endpoint has accepted an older state, or may have processed an older state after the latest.
    ``never_sent``
        The endpoint has not accepted any state yet.
    ``behind_since``
        When the oldest latest state that is not accepted came about, as an aware datetime; ``None`` if none is behind.
    ``counted_at``
        When the profiles that were counted first were counted; ``None`` if all were counted just now.
    ``is_outdated``
        The endpoint was changed after it was counted.
    """

    endpoint_id: int
    endpoint: str
    is_active: bool
    confirmed: int
    behind: int
    never_sent: int
    behind_since: datetime | None
    counted_at: datetime | None = None
    is_outdated: bool = False


def convergence(*, using: str, endpoint_ids: Collection[int] | None = None) -> list[Convergence]:
    """Return the convergence of each endpoint, or of ``endpoint_ids``, in the order of names.

    It is one statement, which reads all confirmations and so takes seconds with a million profiles.
    """
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
    """Return the query of :func:`convergence`."""
    endpoints = ClientEndpoint.objects.using(using)
    if endpoint_ids is not None:
        endpoints = endpoints.filter(pk__in=endpoint_ids)
    latest = F("confirmations__profile__changed_sequence")
    certain = Q(confirmations__uncertain_since=None)
    listed = ListedBranding.objects.filter(
        endpoint=OuterRef("pk"), client_branding_id=OuterRef("confirmations__profile__client_branding_id")
    )
    # A member who left the audience keeps the confirmation, and is in no figure.
    held = Q(audience=Audience.ALL) | Q(Exists(listed))
    confirmed = Q(confirmations__sequence__gte=latest) & certain & held
    behind = (Q(confirmations__sequence__lt=latest) | (Q(confirmations__sequence__gte=latest) & ~certain)) & held
    profiles = UserProfile.objects.order_by().annotate(profiles=Func(F("pk"), function="COUNT")).values("profiles")
    brandings = ListedBranding.objects.filter(endpoint=OuterRef(OuterRef("pk"))).values("client_branding_id")
    members = Case(
        When(audience=Audience.ALL, then=Subquery(profiles)),
        default=Subquery(profiles.filter(client_branding_id__in=brandings)),
        output_field=IntegerField(),
    )
    # values() comes first to group by these columns only. Otherwise SQLite groups by all columns of the endpoint.
    figures = endpoints.values("pk", "name", "is_active").annotate(
        # A confirmation whose profile was deleted by raw SQL joins no row and does not count.
        confirmed=Count("confirmations", filter=confirmed),
        behind=Count("confirmations", filter=behind),
        behind_since=Min("confirmations__profile__date_last_updated", filter=behind),
        profiles=members,
    )
    return figures.order_by("name")
