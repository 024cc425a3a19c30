"""A worker takes due deliveries: under a lease, with a token, one at a time for each pair.

Each endpoint's work is shared out under the lock of its health row, in a short transaction of its own. The claim itself
is a compare-and-set, and the database refuses two deliveries in flight for one pair, so correctness depends on neither
the lock nor SKIP LOCKED.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from live_push import conf
from live_push.delivery import breaker
from live_push.models import (
    ClientEndpoint,
    Confirmation,
    Delivery,
    DeliveryQuerySet,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    Ordering,
    Priority,
)
from live_push.models.clock import db_now
from live_push.models.locking import locked
from live_push.signals import credentials_changed

from . import allowance, failures
from .line import Place, arrange

logger = logging.getLogger("live_push.outbox")

LEASES_PER_TIMEOUT = 4
"""A lease lasts so many total timeouts: time enough to wait in a worker's window and still be sent."""

MOST_SORTED_OUT = 1000
"""So many due deliveries may turn out to be over before a claim comes back with nothing."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Who claims, and what it already holds, by endpoint id.

    ``window`` is the number of rows it likes to hold in all (0: no more than can go at once), ``workers`` how many like
    it are at work; ``satisfied`` are endpoints that it wants no more of for now; ``alone`` asks for one delivery that
    has killed a worker before, and nothing else; ``only`` narrows the claim to these deliveries.
    """

    name: str
    window: int = 256
    workers: int = 1
    held: Mapping[int, int] = field(default_factory=dict)
    in_flight: Mapping[int, int] = field(default_factory=dict)
    satisfied: Collection[int] = ()
    alone: bool = False
    only: Collection[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a worker got of one endpoint's work: deliveries, and how many of them may be on the wire at once."""

    endpoint: ClientEndpoint
    slots: int
    deliveries: list[Delivery]


def claim(worker: Worker, *, using: str) -> list[Share]:
    """Take due deliveries, endpoint by endpoint, so that none waits for another's backlog."""
    now = db_now(using)
    endpoints = list(_with_due_work(worker, now, using=using))
    if not endpoints:
        return []
    # Its part only: what one worker holds, another can't send.
    at_most = max(1, worker.window // ((len(endpoints) + len(worker.satisfied)) * max(1, worker.workers)))
    shares = []
    for endpoint in endpoints:
        if worker.held.get(endpoint.pk, 0) >= max(at_most, endpoint.max_in_flight):
            continue
        try:
            share = _share(worker, endpoint, at_most, using=using)
        except DatabaseError:
            # A deadlock or a pair claimed elsewhere: nothing was taken, and the next sweep looks again.
            logger.warning("Nothing was claimed for endpoint %s this time.", endpoint.pk, exc_info=True)
            continue
        if share is None:
            continue
        shares.append(share)
        if worker.alone and share.deliveries:
            break
    return shares


def lone_deliveries_due(*, using: str) -> bool:
    """Whether a delivery that has killed a worker before, and so is claimed alone, may go now."""
    now = db_now(using)
    lone = Delivery.objects.using(using).due(now).filter(stalls__gt=0)
    return lone.filter(endpoint__in=_rested(now, using=using)).exists()


def _with_due_work(worker: Worker, now: datetime, *, using: str) -> Iterable[ClientEndpoint]:
    due = _due(Delivery.objects.using(using).filter(endpoint=OuterRef("pk"), priority__in=Priority.values), worker, now)
    rested = _rested(now, using=using).exclude(pk__in=worker.satisfied)
    return rested.filter(Exists(due)).order_by("pk")


def _rested(now: datetime, *, using: str) -> QuerySet[ClientEndpoint]:
    rested = Q(health__rests_until=None) | Q(health__rests_until__lte=now)
    return ClientEndpoint.objects.using(using).active().filter(rested)


def _due(deliveries: DeliveryQuerySet, worker: Worker, now: datetime) -> DeliveryQuerySet:
    deliveries = deliveries.due(now)
    if worker.only is not None:
        deliveries = deliveries.filter(pk__in=worker.only)
    return deliveries.filter(stalls__gt=0) if worker.alone else deliveries.filter(stalls=0)


def _share(worker: Worker, endpoint: ClientEndpoint, at_most: int, *, using: str) -> Share | None:
    with transaction.atomic(using=using):
        health = _lock_health(endpoint, using=using)
        if health is None:
            return None
        now = db_now(using)
        permission = breaker.may_try(health.breaker, now)
        if permission == "rest" or _needs_credentials(endpoint, health, using=using):
            return None
        slots = allowance.slots_free_for(worker, health, endpoint, now)
        # Where requests are rationed none waits here: a window let go at once would be more than a second's ration.
        rationed = endpoint.rate_limit_per_second is not None
        room = (slots if rationed else max(slots, at_most)) - worker.held.get(endpoint.pk, 0) if slots else 0
        room = 1 if (permission == "probe" or worker.alone) and room > 0 else room
        room = min(room, allowance.rate(health, endpoint, now))
        deliveries = _take(worker, endpoint, health, room, now, using=using) if room > 0 else []
        allowance.spend(health, endpoint, len(deliveries))
        if permission == "probe" and deliveries:
            health.breaker = breaker.start_probe(health.breaker, now, lease_time().total_seconds())
            health.probe_profile_id = deliveries[0].profile_id
        slots = min(slots, worker.held.get(endpoint.pk, 0) + len(deliveries))
        allowance.lease_slots(health, worker.name, slots, until=now + lease_time())
        health.save(using=using)
        return Share(endpoint=endpoint, slots=slots, deliveries=deliveries)


def _needs_credentials(endpoint: ClientEndpoint, health: EndpointHealth, *, using: str) -> bool:
    """Whether its secrets can't be read, as its health says from now on. What is due waits, and uses up no attempt."""
    problem = endpoint.credentials_problem()
    if health.needs_credentials != bool(problem):
        health.needs_credentials = bool(problem)
        health.save(using=using, update_fields=["needs_credentials"])
        credentials_changed.send(sender=ClientEndpoint, endpoint_id=endpoint.pk, problem=problem, using=using)
    return bool(problem)


def lease_time() -> timedelta:
    return timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS * LEASES_PER_TIMEOUT)


def _lock_health(endpoint: ClientEndpoint, *, using: str) -> EndpointHealth | None:
    """The endpoint's health row, locked; ``None`` where another worker holds it (or the endpoint is gone)."""
    return locked(EndpointHealth.objects.using(using).filter(endpoint=endpoint), skip_locked=True).first()


def _take(
    worker: Worker, endpoint: ClientEndpoint, health: EndpointHealth, room: int, now: datetime, *, using: str
) -> list[Delivery]:
    probing = health.breaker_state != "closed"
    wanted = room + 1 if probing else room
    while True:
        candidates = _candidates(worker, endpoint, wanted, now, using=using)
        if probing:
            # A probe that failed may have failed for that one profile's sake: another one goes first.
            candidates.sort(key=lambda delivery: delivery.profile_id == health.probe_profile_id)
        able, ended = _sort_out(candidates, endpoint, now, using=using)
        if able or not ended or wanted > MOST_SORTED_OUT:
            return _compare_and_set([delivery.pk for delivery in able[:room]], now, using=using)
        # After a long rest most of what is due may be over: it must not hold back the few that can go.
        wanted *= 4


def _sort_out(
    candidates: Sequence[Delivery], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> tuple[list[Delivery], int]:
    """Those that may be sent, and how many others were ended: made pointless by a newer state, or out of time."""
    chosen: list[int] = []
    giving_way: list[int] = []
    for line, confirmed in _lines({delivery.profile_id for delivery in candidates}, endpoint, now, using=using):
        verdict = arrange(line, ordering=endpoint.ordering, confirmed=confirmed)
        giving_way += verdict.giving_way
        if verdict.next_id is not None:
            chosen.append(verdict.next_id)
    able = [delivery for delivery in candidates if delivery.pk in {*chosen}]
    over = [delivery.pk for delivery in able if delivery.is_run_over(endpoint.policy, now)]
    ended = cancel(giving_way, DeliveryReason.SUPERSEDED, now, using=using) + _give_up(over, now, using=using)
    return [delivery for delivery in able if delivery.pk not in {*over}], ended


def _candidates(worker: Worker, endpoint: ClientEndpoint, room: int, now: datetime, *, using: str) -> list[Delivery]:
    """Due deliveries that no older one of their pair holds back: live updates first, then retries, then resends."""
    elders = Delivery.objects.using(using).filter(
        Q(position__lt=OuterRef("position")) | Q(position=OuterRef("position"), pk__lt=OuterRef("pk")),
        _holds_back(endpoint.ordering),
        endpoint=endpoint,
        profile=OuterRef("profile"),
    )
    found: list[Delivery] = []
    # More than there is room for, because some of them will turn out to give way.
    wanted = room * 2 if endpoint.ordering == Ordering.LATEST_ONLY else room
    for priority in Priority.values:
        if len(found) < wanted:
            due = _due(Delivery.objects.using(using).filter(endpoint=endpoint, priority=priority), worker, now)
            free = due.filter(~Exists(elders), profile__isnull=False).order_by("next_attempt_at", "pk")
            found += free[: wanted - len(found)]
    return found


def _holds_back(ordering: str) -> Q:
    sending = Q(status=DeliveryStatus.SENDING)
    if ordering == Ordering.STRICT:
        return sending | Q(status=DeliveryStatus.PENDING)
    if ordering == Ordering.IN_ORDER:
        # One that failed before gives way to the newer one instead.
        return sending | Q(status=DeliveryStatus.PENDING, run_attempts=0)
    return sending


def _lines(
    profile_ids: Collection[int | None], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> Iterable[tuple[list[Place], int]]:
    confirmed = Confirmation.objects.filter(endpoint=endpoint, profile=OuterRef("profile")).values("sequence")
    live = Delivery.objects.using(using).filter(endpoint=endpoint, profile__in=profile_ids).live()
    lines: dict[int, list[Place]] = defaultdict(list)
    confirmed_by_profile: dict[int, int] = {}
    rows = live.annotate(confirmed=Subquery(confirmed)).values_list(
        "profile_id", "pk", "position", "push__sequence", "status", "next_attempt_at", "run_attempts", "confirmed"
    )
    for profile_id, pk, position, sequence, status, next_attempt_at, run_attempts, accepted in rows:
        due = next_attempt_at is not None and next_attempt_at <= now
        sending = status == DeliveryStatus.SENDING
        lines[profile_id].append(Place(pk, position, sequence is not None, sending, due, run_attempts))
        confirmed_by_profile[profile_id] = accepted or 0
    return [(line, confirmed_by_profile[profile_id]) for profile_id, line in lines.items()]


def _give_up(delivery_ids: Collection[int], now: datetime, *, using: str) -> int:
    if not delivery_ids:
        return 0
    failures.tell_after_commit(pk__in=delivery_ids, using=using)
    return (
        Delivery.objects.using(using)
        .filter(pk__in=delivery_ids, status=DeliveryStatus.PENDING)
        .update(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED, next_attempt_at=None, ended_at=now)
    )


def cancel(delivery_ids: Collection[int], reason: DeliveryReason, now: datetime, *, using: str) -> int:
    """Withdraw waiting deliveries; one that is being sent is left alone."""
    if not delivery_ids:
        return 0
    return (
        Delivery.objects.using(using)
        .filter(pk__in=delivery_ids, status=DeliveryStatus.PENDING)
        .update(status=DeliveryStatus.CANCELLED, reason=reason, next_attempt_at=None, ended_at=now)
    )


def _compare_and_set(delivery_ids: Collection[int], now: datetime, *, using: str) -> list[Delivery]:
    if not delivery_ids:
        return []
    token = uuid.uuid4()
    Delivery.objects.using(using).filter(pk__in=delivery_ids, status=DeliveryStatus.PENDING).update(
        status=DeliveryStatus.SENDING,
        lease_token=token,
        leased_until=now + lease_time(),
        next_attempt_at=None,
        dialled_at=None,
        claims_made=F("claims_made") + 1,
    )
    mine = Delivery.objects.using(using).filter(pk__in=delivery_ids, lease_token=token)
    return sorted(mine.select_related("push"), key=lambda delivery: list(delivery_ids).index(delivery.pk))
