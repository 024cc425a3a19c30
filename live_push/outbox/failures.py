"""Deliveries that end without an attempt's verdict are no less failed, and are told like the others."""

from __future__ import annotations

import logging
from collections.abc import Collection

from live_push import signals
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus
from live_push.models.commits import after_commit

logger = logging.getLogger("live_push.outbox")


def tell_after_commit(*, using: str, **which: Collection[object]) -> None:
    """Log deliveries that have failed for good and send the signal, once the transaction that says so is committed.

    ``which`` are lookups, such as ``pk__in``.
    """
    after_commit(_tell, which, using, using=using)


def _tell(which: dict[str, Collection[object]], using: str) -> None:
    # What failed in a transaction may have been mended in it.
    for delivery in Delivery.objects.using(using).filter(status=DeliveryStatus.FAILED, **which).order_by("pk"):
        logger.error(
            "Delivery %s to endpoint %s failed for good: %s.", delivery.pk, delivery.endpoint_id, delivery.reason
        )
        last = delivery.attempts.order_by("number").last()
        signals.delivery_failed.send_robust(sender=ClientEndpoint, delivery=delivery, attempt=last)
