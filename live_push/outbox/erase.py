"""A member is deleted: in the same transaction, what the log knew of them goes too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from live_push.models import (
    Attempt,
    Confirmation,
    Delivery,
    DeliveryQuerySet,
    DeliveryReason,
    DeliveryStatus,
    Push,
    UserProfile,
)
from live_push.models.clock import DbNow
from live_push.models.locking import locked

DELETED = Q(profile=None)
"""The rows of deleted members: what is left of a reference to one is null."""

_NOTHING_LEFT_OF_A_PUSH = Q(payload=None, digest="", error="")
_NOTHING_LEFT_OF_AN_ATTEMPT = Q(answer=None, captured_id=None, replaced_id=None, body_digest="", detail="")


def erase(profile_ids: Collection[int], *, using: str) -> None:
    """Cancel what waits or is under way, and empty the bodies, answers and captured ids of these profiles.

    What stays is that something was sent, when, and how it ended. The lease token goes with the rest, so that the
    verdict of an attempt under way, with the member's data in its answer, is refused when it arrives.
    """
    with transaction.atomic(using=using, savepoint=False):
        # In the order of everyone: profile, delivery.
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids)
        list(locked(profiles).order_by("pk").values_list("pk"))
        _empty(Q(profile__in=profile_ids), using=using)


def erase_deleted(*, using: str) -> None:
    """The same for whatever is left of members who are gone already, by SQL or from a restored backup, say."""
    with transaction.atomic(using=using):
        _empty(DELETED, using=using)
        _unattached_confirmations(using).delete()


def _empty(whose: Q, *, using: str) -> None:
    deliveries = Delivery.objects.using(using).filter(whose)
    # Locked first: a verdict that is being written adds an attempt, which the next statement must see.
    list(locked(deliveries).order_by("pk").values_list("pk"))
    Attempt.objects.using(using).filter(delivery__in=deliveries).update(
        answer=None, captured_id=None, replaced_id=None, body_digest="", detail=""
    )
    deliveries.live().update(
        status=DeliveryStatus.CANCELLED,
        reason=DeliveryReason.ERASED,
        next_attempt_at=None,
        lease_token=None,
        leased_until=None,
        ended_at=DbNow(),
    )
    Push.objects.using(using).filter(whose).update(payload=None, digest="", error="")


@dataclass(frozen=True)
class Remains:
    """What the log still holds of somebody: rows with content, and rows that may yet be sent."""

    bodies: int
    answers: int
    unsent: int
    confirmations: int

    def __bool__(self) -> bool:
        return any(vars(self).values())


def remains(whose: Q = DELETED, *, using: str) -> Remains:
    """What is left of deleted members; or of those whom a condition on ``profile`` names."""
    deliveries: DeliveryQuerySet = Delivery.objects.using(using).filter(whose)
    attempts = Attempt.objects.using(using).filter(delivery__in=deliveries)
    confirmations = Confirmation.objects.using(using).filter(whose)
    return Remains(
        bodies=Push.objects.using(using).filter(whose).exclude(_NOTHING_LEFT_OF_A_PUSH).count(),
        answers=attempts.exclude(_NOTHING_LEFT_OF_AN_ATTEMPT).count(),
        unsent=deliveries.live().count(),
        confirmations=(confirmations | _unattached_confirmations(using)).count(),
    )


def _unattached_confirmations(using: str) -> QuerySet[Confirmation]:
    # No constraint of the database keeps them from outliving their member.
    member = UserProfile._base_manager.using(using).filter(pk=OuterRef("profile_id"))
    return Confirmation.objects.using(using).filter(~Exists(member))
