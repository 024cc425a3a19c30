"""The functions that host projects call."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import router, transaction
from django.db.models import QuerySet

from . import engines
from .contract.schema import body_schema
from .models import ClientEndpoint, Delivery, Priority, PushTrigger, UserProfile
from .models.databases import written_to
from .models.profiles import locked_ids
from .models.transactions import after_commit
from .outbox import record, reopen, resend
from .outbox.reopen import Redelivered, Skipped
from .tiers.clock import apply_due as apply_due_tier_changes
from .tiers.service import award_points, spend_points

__all__ = [
    "Redelivered",
    "Skipped",
    "apply_due_tier_changes",
    "award_points",
    "contract_schema",
    "profile_changed",
    "push_profile",
    "push_profiles",
    "redeliver",
    "spend_points",
]

contract_schema = body_schema


def profile_changed(profile_or_queryset: UserProfile | QuerySet[UserProfile]) -> None:
    """Push a profile, or all profiles of a queryset, as if they had been saved, in the transaction of the caller.

    Call this when a row of your own models changed that your payload serializer reads: no column of the profile
    changed, but what clients receive did. It does what a save does, and writes no column of yours: the profile's
    sequence and ``date_last_updated`` advance, endpoints without this state are behind, and the push is live. All
    changes of a member in one transaction are one push. Above 1,000 profiles, the bodies are drawn when they are first
    sent. To send a state again that did not change, use :func:`push_profile`.

    Raises ``TypeError`` for anything but a profile or a queryset of profiles, and for a queryset that is sliced or
    combined, and ``ValueError`` for a profile that is not saved. Then nothing is recorded.
    """
    profiles = profile_or_queryset
    if isinstance(profiles, UserProfile):
        if profiles.pk is None or profiles._state.adding:
            raise ValueError("The profile is not saved: save() it, which pushes it.")
        using = router.db_for_write(UserProfile, instance=profiles)
        _record_changes([profiles.pk], using=using)
        return
    if not isinstance(profiles, QuerySet) or not issubclass(profiles.model, UserProfile):
        raise TypeError(f"Only a UserProfile or a queryset of UserProfile can be pushed, not {_described(profiles)}.")
    if profiles.query.is_sliced or profiles.query.combinator:
        raise TypeError("A sliced or combined queryset can't be pushed: use UserProfile.objects.filter(pk__in=[…]).")
    using = written_to(profiles)
    with transaction.atomic(using=using, savepoint=False):
        _record_changes(locked_ids(profiles, using=using), using=using)


def _record_changes(profile_ids: list[int], *, using: str) -> None:
    wake = partial(engines.wake, using)
    record.record(profile_ids, PushTrigger.UPDATED, using=using, after_commit=wake, bulk_priority=Priority.LIVE)


def _described(value: Any) -> str:
    if isinstance(value, QuerySet):
        return f"a queryset of {value.model.__name__}"
    return type(value).__name__


def push_profile(profile: UserProfile, *, endpoints: Iterable[ClientEndpoint] | None = None) -> int:
    """Resend the current state of a profile as a new event, and return the number of deliveries.

    The push goes to all active endpoints, or to those of ``endpoints`` that are active, if their audience holds the
    profile. The state is read when the push is first sent.
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


def redeliver(deliveries: Iterable[Delivery | int]) -> Redelivered:
    """Send failed or cancelled deliveries again, with the same events and the same snapshots.

    ``deliveries`` are rows or ids. Returns a pair: ``reopened``, the ids of the deliveries that will be sent again, and
    ``skipped``, a :class:`Skipped` with the reason for each of the others.
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
