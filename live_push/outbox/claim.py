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
from functools import lru_cache
from typing import NamedTuple

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
    Push,
)
from live_push.models.clock import DbNow, db_now, is_stopped
from live_push.models.deliveries import is_run_over
from live_push.models.locking import locked
from live_push.signals import credentials_changed

from . import allowance, failures
from .active import active_endpoints
from .compiled import ID, IDS, MOMENT, TOKEN, Compiled, instance
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


class Candidate(NamedTuple):
    """A due delivery, before its pair's line has been looked at."""

    pk: int
    profile_id: int
    run_started_at: datetime | None


def claim(worker: Worker, *, using: str) -> list[Share]:
    """Take due deliveries, endpoint by endpoint, so that none waits for another's backlog."""
    wanted = set(_with_due_work(worker, using=using)) - {*worker.satisfied}
    if not wanted:
        return []
    endpoints = active_endpoints(sorted(wanted), using=using)
    if not endpoints:
        # Switched off since the look.
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


def _with_due_work(worker: Worker, *, using: str) -> list[int]:
    """The endpoints that have some and do not rest. What an idle worker asks, and a busy one between two answers."""
    # A clock that is stopped is part of the query's text.
    is_new = worker.only is not None or is_stopped()
    look = _look.__wrapped__(using, worker.alone, worker.only) if is_new else _look(using, worker.alone)
    return [pk for (pk,) in look.fetch()]


@lru_cache(maxsize=8)
def _look(using: str, alone: bool, only: Collection[int] | None = None) -> Compiled:
    deliveries = Delivery.objects.using(using).filter(endpoint=OuterRef("pk"), priority__in=Priority.values)
    due = Exists(_due(deliveries, DbNow(), alone=alone, only=only))
    return Compiled(_rested(DbNow(), using=using).filter(due).order_by("pk").values_list("pk"), using=using)


def _rested(now: datetime | DbNow, *, using: str) -> QuerySet[ClientEndpoint]:
    rested = Q(health__rests_until=None) | Q(health__rests_until__lte=now)
    return ClientEndpoint.objects.using(using).active().filter(rested)


def _due(
    deliveries: DeliveryQuerySet, now: datetime | DbNow, *, alone: bool, only: Collection[int] | None
) -> DeliveryQuerySet:
    deliveries = deliveries.due(now)
    if only is not None:
        deliveries = deliveries.filter(pk__in=only)
    return deliveries.filter(stalls__gt=0) if alone else deliveries.filter(stalls=0)


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
    for row in _health(using).fetch(endpoint.pk):
        return instance(EndpointHealth, row, using=using)
    return None


@lru_cache(maxsize=8)
def _health(using: str) -> Compiled:
    return Compiled(locked(EndpointHealth.objects.using(using).filter(pk=ID), skip_locked=True), ID, using=using)


def _take(
    worker: Worker, endpoint: ClientEndpoint, health: EndpointHealth, room: int, now: datetime, *, using: str
) -> list[Delivery]:
    probing = health.breaker_state != "closed"
    wanted = room + 1 if probing else room
    while True:
        candidates = _candidates(worker, endpoint, wanted, now, using=using)
        if probing:
            # A probe that failed may have failed for that one profile's sake: another one goes first.
            candidates.sort(key=lambda candidate: candidate.profile_id == health.probe_profile_id)
        able, ended = _sort_out(candidates, endpoint, now, using=using)
        if able or not ended or wanted > MOST_SORTED_OUT:
            return _compare_and_set([delivery.pk for delivery in able[:room]], now, using=using)
        # After a long rest most of what is due may be over: it must not hold back the few that can go.
        wanted *= 4


def give_way(profile_ids: Collection[int], endpoint: ClientEndpoint, now: datetime, *, using: str) -> int:
    """End what newer states of these profiles have made pointless; returns how many deliveries that were."""
    lines = _lines(profile_ids, endpoint, now, using=using)
    verdicts = [arrange(line, ordering=endpoint.ordering, confirmed=confirmed) for line, confirmed in lines]
    pointless = [pk for verdict in verdicts for pk in verdict.giving_way]
    return cancel(pointless, DeliveryReason.SUPERSEDED, now, using=using)


def _sort_out(
    candidates: Sequence[Candidate], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> tuple[list[Candidate], int]:
    """Those that may be sent, and how many others were ended: made pointless by a newer state, or out of time."""
    if not candidates:
        return [], 0
    chosen: list[int] = []
    giving_way: list[int] = []
    for line, confirmed in _lines({delivery.profile_id for delivery in candidates}, endpoint, now, using=using):
        verdict = arrange(line, ordering=endpoint.ordering, confirmed=confirmed)
        giving_way += verdict.giving_way
        if verdict.next_id is not None:
            chosen.append(verdict.next_id)
    able = [delivery for delivery in candidates if delivery.pk in {*chosen}]
    over = [delivery.pk for delivery in able if is_run_over(delivery.run_started_at, endpoint.policy, now)]
    ended = cancel(giving_way, DeliveryReason.SUPERSEDED, now, using=using) + _give_up(over, now, using=using)
    return [delivery for delivery in able if delivery.pk not in {*over}], ended


def _candidates(worker: Worker, endpoint: ClientEndpoint, room: int, now: datetime, *, using: str) -> list[Candidate]:
    """Due deliveries that no older one of their pair holds back: live updates first, then retries, then resends."""
    found: list[Candidate] = []
    # More than there is room for, because some of them will turn out to give way.
    wanted = room * 2 if endpoint.ordering == Ordering.LATEST_ONLY else room
    for priority in Priority:
        if len(found) < wanted:
            parts = using, priority, endpoint.ordering, worker.alone
            free = _free(*parts) if worker.only is None else _free.__wrapped__(*parts, worker.only)
            found += [Candidate(*row) for row in free.fetch(endpoint.pk, now, limit=wanted - len(found))]
    return found


@lru_cache(maxsize=64)
def _free(using: str, priority: Priority, ordering: str, alone: bool, only: Collection[int] | None = None) -> Compiled:
    deliveries = Delivery.objects.using(using).filter(endpoint=ID)
    elders = deliveries.filter(
        Q(position__lt=OuterRef("position")) | Q(position=OuterRef("position"), pk__lt=OuterRef("pk")),
        _holds_back(ordering),
        profile=OuterRef("profile"),
    )
    due = _due(deliveries.filter(priority=priority.value), MOMENT, alone=alone, only=only)
    free = due.filter(~Exists(elders), profile__isnull=False).order_by("next_attempt_at", "pk")
    return Compiled(free.values_list("pk", "profile_id", "run_started_at"), ID, MOMENT, using=using)


def _holds_back(ordering: str) -> Q:
    sending = Q(status=DeliveryStatus.SENDING)
    if ordering == Ordering.STRICT:
        return sending | Q(status=DeliveryStatus.PENDING)
    if ordering == Ordering.IN_ORDER:
        # One that failed before gives way to the newer one instead.
        return sending | Q(status=DeliveryStatus.PENDING, run_attempts=0)
    return sending


def _lines(
    profile_ids: Collection[int], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> Iterable[tuple[list[Place], int]]:
    lines: dict[int, list[Place]] = defaultdict(list)
    confirmed_by_profile: dict[int, int] = {}
    rows = _live(using).fetch(endpoint.pk, [*profile_ids])
    for profile_id, pk, position, sequence, status, next_attempt_at, run_attempts, accepted in rows:
        due = next_attempt_at is not None and next_attempt_at <= now
        sending = status == DeliveryStatus.SENDING
        lines[profile_id].append(Place(pk, position, sequence is not None, sending, due, run_attempts))
        confirmed_by_profile[profile_id] = accepted or 0
    return [(line, confirmed_by_profile[profile_id]) for profile_id, line in lines.items()]


@lru_cache(maxsize=8)
def _live(using: str) -> Compiled:
    confirmed = Confirmation.objects.filter(endpoint=ID, profile=OuterRef("profile")).values("sequence")
    live = Delivery.objects.using(using).filter(endpoint=ID, profile__in=IDS).live()
    rows = live.annotate(confirmed=Subquery(confirmed)).values_list(
        "profile_id", "pk", "position", "push__sequence", "status", "next_attempt_at", "run_attempts", "confirmed"
    )
    return Compiled(rows, ID, IDS, using=using)


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


def _compare_and_set(delivery_ids: Sequence[int], now: datetime, *, using: str) -> list[Delivery]:
    if not delivery_ids:
        return []
    token = uuid.uuid4()
    _set(using).run([*delivery_ids], token, now + lease_time())
    columns = len(Delivery._meta.concrete_fields)
    mine: dict[int, Delivery] = {}
    for row in _with_pushes(using).fetch([*delivery_ids]):
        delivery = instance(Delivery, row[:columns], using=using)
        if delivery.lease_token == token:
            delivery.push = instance(Push, row[columns:], using=using)
            mine[delivery.pk] = delivery
    return [mine[pk] for pk in delivery_ids if pk in mine]


@lru_cache(maxsize=8)
def _set(using: str) -> Compiled:
    waiting = Delivery.objects.filter(pk__in=IDS, status=DeliveryStatus.PENDING)
    written = {
        "status": DeliveryStatus.SENDING.value,
        "lease_token": TOKEN,
        "leased_until": MOMENT,
        "next_attempt_at": None,
        "dialled_at": None,
        "claims_made": F("claims_made") + 1,
    }
    return Compiled(waiting, IDS, TOKEN, MOMENT, using=using, written=written)


@lru_cache(maxsize=8)
def _with_pushes(using: str) -> Compiled:
    return Compiled(Delivery.objects.filter(pk__in=IDS).select_related("push"), IDS, using=using)
