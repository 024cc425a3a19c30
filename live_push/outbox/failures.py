"""Deliveries that end without an attempt's verdict are no less failed, and are told like the others."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from django.db import transaction

from live_push import signals
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus

logger = logging.getLogger("live_push.outbox")


def tell_after_commit(*, using: str, **which: Collection[object]) -> None:
    """Log deliveries that have failed for good and send the signal, once the transaction that says so is committed.

    ``which`` are lookups, such as ``pk__in``.
    """
    # Robust: nothing that a receiver does can harm whoever committed.
    transaction.on_commit(partial(_tell, which, using), using=using, robust=True)


def _tell(which: dict[str, Collection[object]], using: str) -> None:
    # What failed in a transaction may have been mended in it.
    for delivery in Delivery.objects.using(using).filter(status=DeliveryStatus.FAILED, **which).order_by("pk"):
        logger.error(
            "Delivery %s to endpoint %s failed for good: %s.", delivery.pk, delivery.endpoint_id, delivery.reason
        )
        last = delivery.attempts.order_by("number").last()
        signals.delivery_failed.send_robust(sender=ClientEndpoint, delivery=delivery, attempt=last)
