"""An operator's hand on the log: cancel what waits, erase what was sent and answered."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, OuterRef

from live_push.models import Attempt, Delivery, DeliveryReason, Push
from live_push.models.clock import db_now

from .claim import cancel as cancel_waiting


def cancel(delivery_ids: Collection[int], *, using: str) -> int:
    """Cancel those that wait; one that is being sent is left alone. Returns how many."""
    return cancel_waiting(delivery_ids, DeliveryReason.WITHDRAWN, db_now(using), using=using)


def erase_content(delivery_ids: Collection[int], *, using: str) -> int:
    """Empty the answers, captured ids and bodies of deliveries that are over; returns how many.

    A body that another delivery of the same push still needs stays until that one is over and erased too. That
    something was sent, when, and how it ended stays.
    """
    with transaction.atomic(using=using):
        over = Delivery.objects.using(using).filter(pk__in=delivery_ids, ended_at__isnull=False)
        ids = list(over.values_list("pk", flat=True))
        Attempt.objects.using(using).filter(delivery__in=ids).update(
            answer=None, captured_id=None, replaced_id=None, body_digest="", detail=""
        )
        needed = Delivery.objects.using(using).filter(push=OuterRef("pk")).live()
        pushes = Push.objects.using(using).filter(deliveries__in=ids).exclude(Exists(needed))
        Push.objects.using(using).filter(pk__in=list(pushes.values_list("pk", flat=True))).update(
            payload=None, digest=""
        )
    return len(ids)
