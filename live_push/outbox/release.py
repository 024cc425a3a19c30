"""Release the deliveries of workers that died, so that other workers can claim them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db.models import Exists, OuterRef, Q

from live_push.models import Attempt, Delivery, DeliveryReason, WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.models.transactions import in_transaction, lock_free
from live_push.outbox import announce, transitions, uncertain
from live_push.outbox.give_back import give_back
from live_push.outbox.lease_times import claim_time
from live_push.outbox.verdict import attempt_trigger
from live_push.rules import retry
from live_push.rules.result import ErrorCode, Result

logger = logging.getLogger("live_push.outbox")

SILENT_AFTER: Final = timedelta(seconds=15)
"""A worker whose heartbeat is older counts as dead. The deliveries that it claimed and did not start are released."""

MOST_ISOLATED_STALLS = 5
"""After this many stalls in isolation a delivery fails for good: nothing else was in flight, so it is the cause."""


def release_stalled(*, using: str, random: Callable[[], float], at_most: int = 100) -> int:
    """Release the deliveries of workers that died, and return their number.

    A delivery is released if its lease is over, or if it was not started and the worker's heartbeat stopped. Without a
    started attempt it is due again at once. A started attempt fails with ``lease_lost``: the retry policy decides when
    the next one is due, and the delivery is claimed in isolation from then on. After :data:`MOST_ISOLATED_STALLS` more
    stalls it fails for good.
    """
    now = db_now(using)
    released = _release_unstarted(now, at_most, using=using)
    stalled = Delivery.objects.using(using).sending().filter(leased_until__lt=now, dialled_at__isnull=False)
    for delivery in stalled.select_related("endpoint").order_by("leased_until")[:at_most]:
        released += in_transaction(partial(_release, delivery, now, random, using=using), using=using)
    return released


def _release_unstarted(now: datetime, at_most: int, *, using: str) -> int:
    claimed = Delivery.objects.using(using).sending().filter(dialled_at=None)
    seen = WorkerHeartbeat.objects.filter(name=OuterRef("claimed_by"), seen_at__gt=now - SILENT_AFTER)
    # A short run writes no heartbeat. So a claim counts as abandoned only if it is older than SILENT_AFTER.
    silent = Q(~Exists(seen), leased_until__lte=now + claim_time() - SILENT_AFTER)
    abandoned = claimed.filter(silent | Q(leased_until__lt=now))
    ids = list(abandoned.values_list("pk", flat=True)[:at_most])
    return give_back(list(abandoned.filter(pk__in=ids)), using=using) if ids else 0


def _release(delivery: Delivery, now: datetime, random: Callable[[], float], *, using: str) -> int:
    # Release the delivery only if its row is unchanged: its worker may have settled the attempt, undone the start or
    # renewed the lease. A locked row is left to the next call, because another transaction is changing it.
    own = Delivery.objects.using(using).filter(
        pk=delivery.pk,
        lease_token=delivery.lease_token,
        leased_until=delivery.leased_until,
        dialled_at=delivery.dialled_at,
    )
    if not lock_free(own, [delivery.pk]):
        return 0
    decision = retry.decide(
        Result(error_code=ErrorCode.LEASE_LOST),
        attempts_in_run=delivery.run_attempts,
        run_seconds=(now - (delivery.run_started_at or now)).total_seconds(),
        policy=delivery.endpoint.policy,
        random=random,
    )
    # The first stall does not count: its worker may have had others under way, and any of them may be the cause.
    over = decision.wait_seconds is None or delivery.stalls >= MOST_ISOLATED_STALLS
    if decision.wait_seconds is None:
        transitions.stall_for_good(own, now, DeliveryReason.EXHAUSTED)
    elif over:
        transitions.stall_for_good(own, now, DeliveryReason.STALLED)
    else:
        transitions.stall(own, now, decision.wait_seconds)
    if over:
        announce.announce_failed_after_commit(pk__in=[delivery.pk], using=using)
    Attempt.objects.using(using).create(
        delivery=delivery,
        number=delivery.attempts_made,
        trigger=attempt_trigger(delivery),
        started_at=delivery.dialled_at or now,
        error_code=ErrorCode.LEASE_LOST.value,
    )
    uncertain.mark([uncertain.Sent.by(delivery)], now, using=using)
    logger.warning("The worker of delivery %s died on it (%s times so far).", delivery.pk, delivery.stalls + 1)
    return 1
