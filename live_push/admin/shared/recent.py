"""The newest deliveries of an endpoint or a member, as a short table on its page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from live_push.models import Delivery

from . import formatting

RECENT = 10


def recent(deliveries: QuerySet[Delivery], now: datetime) -> list[tuple[Delivery, formatting.Badge, Any]]:
    """Return the newest of these deliveries, each with its state and when it was recorded."""
    newest = deliveries.select_related("push", "endpoint").order_by("-pk")[:RECENT]
    return [
        (delivery, formatting.delivery_badge(delivery), formatting.moment(delivery.created_at, now))
        for delivery in newest
    ]
