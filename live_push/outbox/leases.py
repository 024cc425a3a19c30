"""What a claim becomes: an attempt that starts, a delivery given back, or the remains of a worker that died."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from live_push import conf
from live_push.delivery import retry
from live_push.delivery.result import ErrorCode, Result
from live_push.models import Attempt, AttemptTrigger, Delivery, DeliveryReason, DeliveryStatus, EndpointHealth, Priority
from live_push.models.clock import DbNow, db_now
from live_push.models.deliveries import is_run_over
from live_push.models.locking import locked

from . import allowance, failures
from .compiled import IDS, MOMENT, OTHER_MOMENT, TOKEN, Compiled

logger = logging.getLogger("live_push.outbox")

LONE_STALLS_AT_MOST = 5
"""A delivery whose worker died on it so often, with nothing else under way, is given up: it is what kills them."""


def start(deliveries: Sequence[Delivery], *, using: str) -> list[Delivery]:
    """Mark claimed deliveries as dialled, just before they are; returns those that may be.

    A delivery whose lease is lost, or would not outlive an attempt, stays out: another worker may have it by then. So
    does one whose run has ended while it waited here.
    """
    started: list[Delivery] = []
    by_token: dict[UUID | None, list[Delivery]] = {}
    now = db_now(using)
    for delivery in deliveries:
        started_at = delivery.run_started_at
        if started_at is None or not is_run_over(started_at, delivery.endpoint.policy, now):
            by_token.setdefault(delivery.lease_token, []).append(delivery)
    outlives = now + timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS)
    for token, some in by_token.items():
        ids = [delivery.pk for delivery in some]
        if _dial(using).run(ids, token, now, outlives) == len(some):
            for delivery in some:
                delivery.attempts_made += 1
                delivery.run_attempts += 1
                delivery.run_started_at = delivery.run_started_at or now
                delivery.dialled_at = now
        else:
            some = _dialled(some, token, outlives, using=using)
        started += some
    return started


def _dialled(some: Sequence[Delivery], token: UUID | None, outlives: datetime, *, using: str) -> list[Delivery]:
    """Those of them that are marked; an earlier try may have done it, whose success nobody learned of."""
    ours = Delivery.objects.using(using).filter(lease_token=token, leased_until__gt=outlives, dialled_at__isnull=False)
    fields = ("attempts_made", "run_attempts", "run_started_at", "dialled_at")
    marked = ours.filter(pk__in=[delivery.pk for delivery in some]).in_bulk()
    for delivery in some:
        if delivery.pk in marked:
            for name in fields:
                setattr(delivery, name, getattr(marked[delivery.pk], name))
    return [delivery for delivery in some if delivery.pk in marked]


@lru_cache(maxsize=8)
def _dial(using: str) -> Compiled:
    # Not twice, so that an attempt is counted once though the first try's answer was lost.
    mine = Delivery.objects.filter(pk__in=IDS, lease_token=TOKEN, leased_until__gt=OTHER_MOMENT, dialled_at=None)
    written = {
        "dialled_at": MOMENT,
        "attempts_made": F("attempts_made") + 1,
        "run_attempts": F("run_attempts") + 1,
        "run_started_at": Coalesce(F("run_started_at"), MOMENT),
    }
    return Compiled(mine, IDS, TOKEN, MOMENT, OTHER_MOMENT, using=using, written=written)


def give_back(deliveries: Collection[Delivery], *, using: str) -> int:
    """Return claimed deliveries that were not dialled; they are due at once, for whoever comes next."""
    rows = 0
    for token in {delivery.lease_token for delivery in deliveries}:
        rows += (
            Delivery.objects.using(using)
            .filter(pk__in=[delivery.pk for delivery in deliveries], lease_token=token, dialled_at=None)
            .update(status=DeliveryStatus.PENDING, next_attempt_at=DbNow(), lease_token=None, leased_until=None)
        )
    if rows:
        _take_back_probes(deliveries, using=using)
    return rows


def _take_back_probes(deliveries: Collection[Delivery], *, using: str) -> None:
    """Where what was given back was the probe of its endpoint, another may be made at once."""
    given_back = {(delivery.endpoint_id, delivery.profile_id) for delivery in deliveries}
    half_open = EndpointHealth.objects.using(using).filter(breaker_state="half_open")
    probes = half_open.filter(pk__in={endpoint_id for endpoint_id, _ in given_back})
    for endpoint_id, profile_id in probes.values_list("pk", "probe_profile_id"):
        if (endpoint_id, profile_id) in given_back:
            half_open.filter(pk=endpoint_id, probe_profile_id=profile_id).update(
                breaker_state="open", rests_until=DbNow()
            )


def release_slots(worker_name: str, endpoint_ids: Collection[int], *, using: str) -> None:
    """Give back a worker's places on the wire of endpoints that it has nothing left for."""
    for endpoint_id in sorted(endpoint_ids):
        with transaction.atomic(using=using):
            health = locked(EndpointHealth.objects.using(using).filter(pk=endpoint_id)).first()
            if health is not None:
                allowance.release_slots(health, worker_name)
                health.save(using=using, update_fields=["slots"])


def release_stalled(*, using: str, dice: Callable[[], float], at_most: int = 100) -> int:
    """Take deliveries from workers that died: their lease is over.

    One that was dialled has made an attempt, which failed with ``lease_lost``; its next time comes from the retry
    policy, and it is claimed alone from then on. One that was not dialled is simply due again. Five lone stalls end it.
    """
    now = db_now(using)
    stalled = Delivery.objects.using(using).filter(leased_until__lt=now, status=DeliveryStatus.SENDING)
    released = 0
    for delivery in stalled.select_related("endpoint").order_by("leased_until")[:at_most]:
        with transaction.atomic(using=using):
            released += _release(delivery, now, dice, using=using)
    return released


def _release(delivery: Delivery, now: datetime, dice: Callable[[], float], *, using: str) -> int:
    # As it was read: a slow worker may start it meanwhile, and that is an attempt.
    own = Delivery.objects.using(using).filter(
        pk=delivery.pk,
        lease_token=delivery.lease_token,
        dialled_at=delivery.dialled_at,
        status=DeliveryStatus.SENDING,
    )
    free = {"lease_token": None, "leased_until": None}
    if delivery.dialled_at is None:
        return own.update(status=DeliveryStatus.PENDING, next_attempt_at=now, **free)
    decision = retry.decide(
        Result(error_code=ErrorCode.LEASE_LOST),
        attempts_in_run=delivery.run_attempts,
        run_seconds=(now - (delivery.run_started_at or now)).total_seconds(),
        policy=delivery.endpoint.policy,
        dice=dice,
    )
    # The first one says little: whatever else its worker had under way stalled too.
    over = decision.wait_seconds is None or delivery.stalls >= LONE_STALLS_AT_MOST
    rows = own.update(
        status=DeliveryStatus.FAILED if over else DeliveryStatus.PENDING,
        reason=(DeliveryReason.EXHAUSTED if decision.wait_seconds is None else DeliveryReason.STALLED) if over else "",
        priority=Priority.RETRY,
        next_attempt_at=None if over else now + timedelta(seconds=decision.wait_seconds or 0),
        ended_at=now if over else None,
        stalls=F("stalls") + 1,
        last_error_code=ErrorCode.LEASE_LOST.value,
        last_status_code=None,
        dialled_at=None,
        **free,
    )
    if rows and over:
        failures.tell_after_commit(pk__in=[delivery.pk], using=using)
    if rows:
        Attempt.objects.using(using).create(
            delivery=delivery,
            number=delivery.attempts_made,
            trigger=attempt_trigger(delivery),
            started_at=delivery.dialled_at,
            error_code=ErrorCode.LEASE_LOST.value,
        )
        logger.warning("The worker of delivery %s died on it (%s times so far).", delivery.pk, delivery.stalls + 1)
    return rows


def attempt_trigger(delivery: Delivery) -> AttemptTrigger:
    """What caused the attempt under way."""
    if delivery.run_attempts > 1:
        return AttemptTrigger.RETRY
    return AttemptTrigger.REDELIVER if delivery.redelivered else AttemptTrigger.PUSH
