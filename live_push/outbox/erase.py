"""A member is deleted: in the same transaction, what the log knew of them goes too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When

from live_push.chunks import chunks
from live_push.encryption import pseudonyms
from live_push.models import (
    Attempt,
    ClientEndpoint,
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
from live_push.models.profiles import IDS_PER_STATEMENT

DELETED = Q(profile=None)
"""The rows of deleted members: what is left of a reference to one is null."""

_NOTHING_LEFT_OF_A_PUSH = Q(payload=None, digest="", error="")
_NOTHING_LEFT_OF_AN_ATTEMPT = Q(answer=None, captured_id=None, replaced_id=None, body_digest="", detail="")


def erase(profile_ids: Collection[int], *, using: str) -> None:
    """Cancel what waits or is under way, and empty the bodies, answers and captured ids of these profiles.

    What stays is that something was sent, when, and how it ended, with a keyed hash that finds it for who knows whom to
    look for. The lease token goes with the rest, so that the verdict of an attempt under way, with the member's data in
    its answer, is refused when it arrives.
    """
    subject = Case(*(When(profile=pk, then=Value(_subjects(pk)[0])) for pk in profile_ids))
    with transaction.atomic(using=using, savepoint=False):
        # In the order of everyone: profile, delivery.
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids)
        # With its key: a resend of theirs that is being recorded must be seen here, or not see them any more.
        list(profiles.select_for_update().order_by("pk").values_list("pk"))
        _empty(Q(profile__in=profile_ids), using=using, subject=subject)


def erase_deleted(*, using: str) -> None:
    """The same for whatever is left of members who are gone already, by SQL or from a restored backup, say."""
    with transaction.atomic(using=using):
        _empty(DELETED, using=using)
        _unattached_confirmations(using).delete()


def forget(profile_ids: Collection[int], *, using: str) -> None:
    """The same for members whose deletion was under way while a resend was recorded: neither saw the other."""
    with transaction.atomic(using=using, savepoint=False):
        erase(profile_ids, using=using)
        for model in (Push, Delivery):
            model._base_manager.using(using).filter(profile__in=profile_ids).update(profile=None)


def _subjects(profile_id: int) -> list[str]:
    return pseudonyms(f"profile {profile_id}")


def _empty(whose: Q, *, using: str, **written: Any) -> None:
    deliveries = Delivery.objects.using(using).filter(whose)
    # Locked first: a verdict that is being written adds an attempt, which the next statement must see. By their ids:
    # MariaDB locks the entries of the index that it finds rows by, and before the rows, while who deletes them does the
    # reverse.
    for some in chunks(list(deliveries.order_by("pk").values_list("pk", flat=True)), IDS_PER_STATEMENT):
        list(locked(Delivery.objects.using(using).filter(pk__in=some)).order_by("pk").values_list("pk"))
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
    Push.objects.using(using).filter(whose).update(payload=None, digest="", error="", **written)


def recipients(profile_id: int, *, using: str) -> list[str]:
    """The endpoints, by name, that anything of this member was sent to, accepted or not, as far as the log reaches."""
    erased = Push.objects.using(using).filter(profile=None, subject__in=_subjects(profile_id))
    names: set[str] = set()
    for whose in (Q(profile=profile_id), Q(push__in=erased)):
        deliveries = Delivery.objects.using(using).filter(whose)
        # One that was under way when its member was deleted has no verdict any more.
        sent = deliveries.filter(Q(attempts_made__gt=0) | Q(dialled_at__isnull=False))
        endpoints = ClientEndpoint.objects.using(using).filter(pk__in=sent.order_by().values("endpoint"))
        names.update(endpoints.values_list("name", flat=True))
    return sorted(names)


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
