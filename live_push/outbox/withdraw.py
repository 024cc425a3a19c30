"""Operators' actions on deliveries in the log: cancel waiting ones, and erase what was sent and answered."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, OuterRef

from live_push.models import Attempt, Delivery, DeliveryReason, Push
from live_push.models.clock import db_now

from . import emptied
from .claim import cancel as cancel_waiting


def cancel(delivery_ids: Collection[int], *, using: str) -> int:
    """Cancel the waiting ones among these deliveries, and return their number. A delivery in flight is not stopped."""
    return cancel_waiting(delivery_ids, DeliveryReason.WITHDRAWN, db_now(using), using=using)


def erase_content(delivery_ids: Collection[int], *, using: str) -> int:
    """Empty the bodies, answers and captured ids of the ended ones among these deliveries; return their number.

    The body stays while another delivery of the same push has not ended; call this for that delivery later. The log
    keeps that something was sent, when, and how it ended.
    """
    with transaction.atomic(using=using):
        ended = Delivery.objects.using(using).filter(pk__in=delivery_ids, ended_at__isnull=False)
        ids = list(ended.values_list("pk", flat=True))
        Attempt.objects.using(using).filter(delivery__in=ids).update(**emptied.WITHDRAWN_ATTEMPT)
        needed = Delivery.objects.using(using).filter(push=OuterRef("pk")).live()
        pushes = Push.objects.using(using).filter(deliveries__in=ids).exclude(Exists(needed))
        push_ids = list(pushes.values_list("pk", flat=True))
        Push.objects.using(using).filter(pk__in=push_ids).update(**emptied.WITHDRAWN_PUSH)
    return len(ids)
