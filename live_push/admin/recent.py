"""The last deliveries of something, as a short table on its page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from live_push.models import Delivery

from . import words

RECENT = 10


def recent(deliveries: QuerySet[Delivery], now: datetime) -> list[tuple[Delivery, words.Badge, Any]]:
    """The newest of these deliveries, each with its state and when it was recorded."""
    newest = deliveries.select_related("push", "endpoint").order_by("-pk")[:RECENT]
    return [(delivery, words.delivery_badge(delivery), words.moment(delivery.created_at, now)) for delivery in newest]
