"""Report on erasure: which endpoints received a member's data, and what the log still has of deleted members."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from live_push.models import Attempt, ClientEndpoint, Confirmation, Delivery, DeliveryQuerySet, Push

from . import emptied
from .erase import DELETED, orphaned_confirmations, subject_hashes


def recipients(profile_id: int, *, using: str) -> list[str]:
    """Return the sorted names of the endpoints to which data of this member was sent, whether they accepted it or not.

    Works for existing and for deleted members, as far back as the log reaches. What an endpoint has accepted of an
    existing member is known for longer, also after the member left the endpoint's audience.
    """
    erased = Push.objects.using(using).filter(profile=None, subject__in=subject_hashes(profile_id))
    names: set[str] = set()
    for condition in (Q(profile=profile_id), Q(push__in=erased)):
        deliveries = Delivery.objects.using(using).filter(condition)
        # The erasure keeps both columns of a delivery whose attempt was in flight at the deletion.
        sent = deliveries.filter(Q(attempts_made__gt=0) | Q(dialled_at__isnull=False))
        endpoints = ClientEndpoint.objects.using(using).filter(pk__in=sent.order_by().values("endpoint"))
        names.update(endpoints.values_list("name", flat=True))
    accepted = Confirmation.objects.using(using).filter(profile=profile_id, sequence__gt=0)
    confirming = ClientEndpoint.objects.using(using).filter(pk__in=accepted.order_by().values("endpoint"))
    names.update(confirming.values_list("name", flat=True))
    return sorted(names)


@dataclass(frozen=True)
class RemainingData:
    """The number of rows that still have data of members. The object is false if all numbers are 0.

    ``bodies``
        Pushes with a body, a digest or an error.
    ``answers``
        Attempts with an answer, a captured id, a digest or a detail.
    ``unsent``
        Deliveries that have not ended.
    ``confirmations``
        Confirmations of members.
    """

    bodies: int
    answers: int
    unsent: int
    confirmations: int

    def __bool__(self) -> bool:
        return any(vars(self).values())


def remaining_data(condition: Q = DELETED, *, using: str) -> RemainingData:
    """Count the rows with data of members. ``condition`` on ``profile`` selects them; by default, deleted members.

    Confirmations of members who do not exist are always counted.
    """
    deliveries: DeliveryQuerySet = Delivery.objects.using(using).filter(condition)
    attempts = Attempt.objects.using(using).filter(delivery__in=deliveries)
    confirmations = Confirmation.objects.using(using).filter(condition)
    return RemainingData(
        bodies=Push.objects.using(using).filter(condition).exclude(**emptied.ERASED_PUSH).count(),
        answers=attempts.exclude(**emptied.ERASED_ATTEMPT).count(),
        unsent=deliveries.live().count(),
        confirmations=(confirmations | orphaned_confirmations(using)).count(),
    )
