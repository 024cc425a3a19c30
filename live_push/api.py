"""The front door: what a host project calls, and what the receivers call on its behalf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from django.db import router
from django.db.models import QuerySet

from . import engines
from .contract.schema import body_schema
from .models import ClientEndpoint, Delivery, UserProfile
from .models.commits import after_commit
from .outbox import erase as outbox_erase
from .outbox import record as outbox_record
from .outbox import reopen, resend
from .outbox.reopen import Skipped
from .tiers.service import apply_due as apply_due_tier_changes
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
    """Resend one profile's current state: a new event, drawn when it is first sent.

    To all active endpoints, or to those of ``endpoints`` that are active; returns the number of deliveries.
    """
    using = profile._state.db or router.db_for_write(UserProfile)
    wanted = None if endpoints is None else [endpoint.pk for endpoint in endpoints]
    recorded = resend.record([profile.pk], using=using, endpoint_ids=wanted)
    _wake_after_commit(using)
    return recorded


def push_profiles(queryset: QuerySet[UserProfile], *, endpoints: Iterable[ClientEndpoint] | None = None) -> int:
    """Resend the current state of all profiles of a queryset; returns the number of deliveries."""
    using = queryset.db
    wanted = None if endpoints is None else [endpoint.pk for endpoint in endpoints]
    selected: Any = queryset.values("pk")
    if queryset.query.is_sliced or queryset.query.combinator:
        # Not every database takes these as a part of another query.
        selected = set(queryset.values_list("pk", flat=True))
    recorded = 0
    for span in resend.spans(UserProfile._base_manager.using(using).filter(pk__in=selected)):
        recorded += resend.record_selected(span.profiles, using=using, endpoint_ids=wanted)
        _wake_after_commit(using)
    return recorded


def redeliver(deliveries: Iterable[Delivery | int]) -> tuple[list[int], list[Skipped]]:
    """Send failed or cancelled deliveries again, given as rows or ids: the same events, the same snapshots.

    Returns the ids of those reopened, and those skipped, each with the sentence why.
    """
    using = deliveries.db if isinstance(deliveries, QuerySet) else router.db_for_write(Delivery)
    ids = [delivery if isinstance(delivery, int) else delivery.pk for delivery in deliveries]
    outcome = reopen.redeliver(ids, using=using)
    _wake_after_commit(using)
    return outcome


def record_change(profile_ids: Sequence[int], trigger: str, *, using: str) -> None:
    """Record that profiles changed, in the transaction of the change; the engine is woken once, after its commit."""
    outbox_record.record(profile_ids, trigger, using=using, after_commit=partial(engines.wake, using))


def erase(profile_ids: Sequence[int], *, using: str) -> None:
    """Empty the log of what it knows of members who are being deleted, in the same transaction."""
    outbox_erase.erase(profile_ids, using=using)


def reactivate(endpoint_id: int, *, using: str) -> int:
    """An endpoint was switched on: catch up with what it missed, in the same transaction."""
    missed = reopen.reactivate(endpoint_id, using=using)
    _wake_after_commit(using)
    return missed


def _wake_after_commit(using: str) -> None:
    after_commit(engines.wake, using, using=using)
