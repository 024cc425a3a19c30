"""The functions that host projects call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import router
from django.db.models import QuerySet

from . import engines
from .contract.schema import body_schema
from .models import ClientEndpoint, Delivery, UserProfile
from .models.databases import written_to
from .models.transactions import after_commit
from .outbox import reopen, resend
from .outbox.reopen import Skipped
from .tiers.clock import apply_due as apply_due_tier_changes
from .tiers.service import award_points, spend_points

__all__ = [
    "Skipped",
    "apply_due_tier_changes",
    "award_points",
    "contract_schema",
    "push_profile",
    "push_profiles",
    "redeliver",
    "spend_points",
]

contract_schema = body_schema


def push_profile(profile: UserProfile, *, endpoints: Iterable[ClientEndpoint] | None = None) -> int:
    """Resend the current state of a profile as a new event, and return the number of deliveries.

    The push goes to all active endpoints, or to those of ``endpoints`` that are active. The state is read when the push
    is first sent.
    """
    # Use the database to which profile.save() would write.
    using = router.db_for_write(UserProfile, instance=profile)
    endpoint_ids = None if endpoints is None else [endpoint.pk for endpoint in endpoints]
    recorded = resend.record([profile.pk], using=using, endpoint_ids=endpoint_ids)
    _wake_after_commit(using)
    return recorded


def push_profiles(queryset: QuerySet[UserProfile], *, endpoints: Iterable[ClientEndpoint] | None = None) -> int:
    """Resend the current state of all profiles of a queryset, and return the number of deliveries.

    See :func:`push_profile`. The pushes are recorded in steps of 10,000 profiles. Outside a transaction, each step is
    committed by itself.
    """
    using = written_to(queryset)
    endpoint_ids = None if endpoints is None else [endpoint.pk for endpoint in endpoints]
    selected: Any = queryset.values("pk")
    if queryset.query.is_sliced or queryset.query.combinator:
        # Some databases don't accept a slice or a union as a subquery.
        selected = set(queryset.using(using).values_list("pk", flat=True))
    recorded = 0
    for span in resend.spans(UserProfile._base_manager.using(using).filter(pk__in=selected)):
        recorded += resend.record_selected(span.profiles, using=using, endpoint_ids=endpoint_ids)
        _wake_after_commit(using)
    return recorded


def redeliver(deliveries: Iterable[Delivery | int]) -> tuple[list[int], list[Skipped]]:
    """Send failed or cancelled deliveries again, with the same events and the same snapshots.

    ``deliveries`` are rows or ids. Returns the ids of the deliveries that will be sent again, and a :class:`Skipped`
    with the reason for each of the others.
    """
    using = router.db_for_write(Delivery)
    if isinstance(deliveries, QuerySet):
        using = written_to(deliveries)
        # A replica may not have the newest deliveries yet.
        deliveries = deliveries.using(using).values_list("pk", flat=True)
    ids = [delivery if isinstance(delivery, int) else delivery.pk for delivery in deliveries]
    outcome = reopen.redeliver(ids, using=using)
    _wake_after_commit(using)
    return outcome


def _wake_after_commit(using: str) -> None:
    after_commit(engines.wake, using, using=using)
