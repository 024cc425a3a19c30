"""Erase the data of deleted members from the delivery log.

Erasure happens in the transaction that deletes the profile. It empties bodies, answers and captured ids, and cancels
deliveries that have not ended. The log keeps when something was sent to which endpoint, and how it ended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When

from live_push.models import (
    Attempt,
    Confirmation,
    Delivery,
    Push,
    UserProfile,
)
from live_push.models.profiles import IDS_PER_STATEMENT
from live_push.models.transactions import locked
from live_push.rules.batched import batched
from live_push.secrets.keyring import pseudonyms

from . import emptied, transitions

DELETED = Q(profile=None)
"""The condition for rows of deleted members: their reference to the profile is null."""


def erase(profile_ids: Collection[int], *, using: str) -> None:
    """Cancel the deliveries of these profiles that have not ended, and empty their bodies, answers and captured ids.

    Each push gets a keyed hash of the profile id, so that :func:`~live_push.outbox.erasure_report.recipients` still
    finds which endpoints received the member's data. The lease token is removed, so that the result of an attempt under
    way, which may have the member's data, is refused.
    """
    subject = Case(*(When(profile=pk, then=Value(subject_hashes(pk)[0])) for pk in profile_ids))
    with transaction.atomic(using=using, savepoint=False):
        # Lock the profiles before the deliveries, as all code does. The lock FOR UPDATE conflicts with the lock of a
        # concurrent resend. So either the resend commits first and its deliveries are erased here, or the resend waits
        # and then finds no profile.
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids)
        list(profiles.select_for_update().order_by("pk").values_list("pk"))
        _empty(Q(profile__in=profile_ids), using=using, subject=subject)


def erase_deleted(*, using: str) -> None:
    """Erase what is left of members who were deleted without Django, such as by SQL or by restoring a backup."""
    with transaction.atomic(using=using):
        _empty(DELETED, using=using)
        orphaned_confirmations(using).delete()


def erase_and_detach(profile_ids: Collection[int], *, using: str) -> None:
    """Erase the data of profiles that do not exist any more, and set the references to them to null.

    Use it if a profile was deleted while a resend for it was being recorded: neither transaction sees the other's rows.
    """
    with transaction.atomic(using=using, savepoint=False):
        erase(profile_ids, using=using)
        for model in (Push, Delivery):
            model._base_manager.using(using).filter(profile__in=profile_ids).update(profile=None)


def subject_hashes(profile_id: int) -> list[str]:
    """Return the keyed hashes of the profile id, one for each configured key, the newest first."""
    return pseudonyms(f"profile {profile_id}")


def _empty(condition: Q, *, using: str, **push_values: Any) -> None:
    deliveries = Delivery.objects.using(using).filter(condition)
    # Lock the deliveries first: a concurrent settlement may add an attempt, which the next statement must see. Select
    # them by id: MariaDB locks the index entries it searches before it locks the rows, while a deletion locks in the
    # reverse order, which would be a deadlock.
    for batch in batched(list(deliveries.order_by("pk").values_list("pk", flat=True)), IDS_PER_STATEMENT):
        list(locked(Delivery.objects.using(using).filter(pk__in=batch)).order_by("pk").values_list("pk"))
    Attempt.objects.using(using).filter(delivery__in=deliveries).update(**emptied.ERASED_ATTEMPT)
    transitions.erase(deliveries)
    Push.objects.using(using).filter(condition).update(**emptied.ERASED_PUSH, **push_values)


def orphaned_confirmations(using: str) -> QuerySet[Confirmation]:
    """Return the confirmations of members who do not exist. No constraint deletes them with their profile."""
    member = UserProfile._base_manager.using(using).filter(pk=OuterRef("profile_id"))
    return Confirmation.objects.using(using).filter(~Exists(member))
