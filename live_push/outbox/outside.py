"""End the waiting deliveries of members who are outside their endpoint's audience.

A member who leaves and an audience that is narrowed write nothing else than themselves, because a million deliveries
may wait. What is due is judged when it is started. This ends the rest.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from live_push.models import Audience, Delivery, DeliveryReason, EndpointHealth
from live_push.models.clock import db_now
from live_push.models.transactions import in_transaction, lock_free

from .claim import cancel

CANCELLED_AT_ONCE: Final = 500

BATCHES_PER_SEARCH: Final = 20

SEARCHED_EVERY: Final = timedelta(minutes=1)
"""The time between two searches among the waiting deliveries of an endpoint."""

SEARCH_PAUSE_TIMES: Final = 19
"""After a search that took t seconds, the next one follows 19 t seconds later at the earliest."""

SEARCH_LEASE: Final = timedelta(minutes=5)
"""When another worker searches after the one that does was killed."""


def end_outside(*, using: str) -> int:
    """Cancel waiting deliveries of members outside the audience, in batches; return their number.

    Workers call it every few seconds. Each endpoint is searched once a minute, by one of them. It does not wait for
    locks: a delivery that another transaction has locked is cancelled by a later search.
    """
    now = db_now(using)
    ended = 0
    listed = EndpointHealth.objects.using(using).filter(endpoint__audience=Audience.LISTED)
    for health in listed.order_by("pk"):
        is_due = health.outside_check_at is None or health.outside_check_at <= now
        if is_due and _mark(health, now + SEARCH_LEASE, using=using):
            ended += _end(health, now, using=using)
    return ended


def _end(health: EndpointHealth, now: datetime, *, using: str) -> int:
    began = time.monotonic()
    # Only pending deliveries have a next attempt. By it, an index finds them in a long log.
    pending = Delivery.objects.using(using).filter(endpoint=health.pk, next_attempt_at__isnull=False)
    outside = pending.outside_audience().values_list("pk", flat=True)
    ended = batch = 0
    for _ in range(BATCHES_PER_SEARCH):
        ids = list(outside[:CANCELLED_AT_ONCE])
        batch = in_transaction(partial(_cancel, ids, now, using=using), using=using) if ids else 0
        ended += batch
        if batch < CANCELLED_AT_ONCE:
            break
    took = timedelta(seconds=time.monotonic() - began)
    is_over = batch < CANCELLED_AT_ONCE
    _mark(health, now + max(SEARCHED_EVERY, SEARCH_PAUSE_TIMES * took) if is_over else now, using=using)
    return ended


def _cancel(delivery_ids: list[int], now: datetime, *, using: str) -> int:
    return cancel(delivery_ids, DeliveryReason.AUDIENCE, now, using=using, skip_locked=True)


def _mark(health: EndpointHealth, at: datetime, *, using: str) -> bool:
    """Set the time of the next search. Return false if another worker was faster, or if the row is locked."""
    same = EndpointHealth.objects.using(using).filter(outside_check_at=health.outside_check_at)

    def set_mark() -> bool:
        return bool(lock_free(same, [health.pk]) and same.filter(pk=health.pk).update(outside_check_at=at))

    if not in_transaction(set_mark, using=using):
        return False
    health.outside_check_at = at
    return True
