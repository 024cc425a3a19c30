"""The figures of the admin pages. Each takes one statement, independent of the number of endpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import router
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from live_push.models import (
    ClientEndpoint,
    Delivery,
    DeliveryStatus,
    EndpointHour,
    EndpointState,
    Priority,
    WorkerHeartbeat,
)
from live_push.models.clock import db_now
from live_push.models.endpoint_state import in_state
from live_push.models.hours import WAS_ACCEPTED
from live_push.outbox import prune

from . import attention
from .convergence import Convergence
from .stored_convergence import known_convergence

DAY = timedelta(hours=24)
WEEK = timedelta(days=7)
PRUNED_WITHIN = timedelta(days=2)
"""Pruning runs daily. One missed run is tolerated."""


@dataclass(frozen=True)
class Share:
    """The number of attempts, and how many of them were accepted.

    ``left_out`` is the number of deliveries that ended without an attempt because they held nothing new.
    """

    accepted: int = 0
    attempts: int = 0
    left_out: int = 0

    @property
    def failed(self) -> int:
        """The number of attempts that were not accepted."""
        return self.attempts - self.accepted

    @property
    def percent(self) -> float | None:
        """0 to 100, rounded down, so that 100 means all; ``None`` without attempts."""
        return self.accepted * 1000 // self.attempts / 10 if self.attempts else None


@dataclass(frozen=True)
class WaitingFigures:
    """The deliveries that wait for an endpoint. ``retried`` counts those that were attempted before."""

    deliveries: int = 0
    retried: int = 0
    oldest_due_at: datetime | None = None


@dataclass(frozen=True)
class EndpointFigures:
    """The figures of one endpoint."""

    day: Share = field(default_factory=Share)
    waiting: WaitingFigures = field(default_factory=WaitingFigures)
    convergence: Convergence | None = None
    """``None`` if no worker has counted it yet."""
    conflicts: int = 0
    """How many ids of other members the endpoint returned in seven days."""


def of_endpoints(endpoints: Collection[ClientEndpoint], now: datetime) -> dict[int, EndpointFigures]:
    """Return the figures of these endpoints by id."""
    endpoint_ids = [endpoint.pk for endpoint in endpoints]
    hours = EndpointHour.objects.since(now - DAY).filter(endpoint__in=endpoint_ids)
    day, waits, convergences = shares(hours), waiting(endpoint_ids), converged(endpoints)
    conflict_counts = conflicts(endpoint_ids, now)
    return {
        pk: EndpointFigures(
            day.get(pk, Share()), waits.get(pk, WaitingFigures()), convergences.get(pk), conflict_counts.get(pk, 0)
        )
        for pk in endpoint_ids
    }


def shares(hours: QuerySet[EndpointHour], by: str = "endpoint") -> dict[Any, Share]:
    """Return the attempts and how many of them were accepted, by endpoint or by ``hour``."""
    accepted = Coalesce(Sum("attempts", filter=WAS_ACCEPTED), 0)
    rows = hours.order_by().values_list(by).annotate(accepted=accepted, total=Sum("attempts"), more=Sum("left_out"))
    return {key: Share(good, attempts, left_out) for key, good, attempts, left_out in rows}


def conflicts(endpoint_ids: Collection[int], now: datetime) -> dict[int, int]:
    """Return how many ids of other members each endpoint returned in seven days."""
    week = EndpointHour.objects.since(now - WEEK).in_conflict().filter(endpoint__in=endpoint_ids)
    return dict(week.order_by().values_list("endpoint").annotate(Sum("attempts")))


def unpruned(now: datetime) -> datetime | None:
    """Return when the oldest delivery ended that should have been pruned two days ago; ``None`` if there is none."""
    using = router.db_for_read(Delivery)
    overdue = [
        prune.ended_before(moment - PRUNED_WITHIN, status, using=using).order_by("ended_at")
        for status, moment in prune.rows_kept_since(now).items()
    ]
    ends = [ended_at for rows in overdue for ended_at in rows.values_list("ended_at", flat=True)[:1]]
    return min((ended_at for ended_at in ends if ended_at is not None), default=None)


def waiting(endpoint_ids: Collection[int]) -> dict[int, WaitingFigures]:
    """Return by endpoint how many deliveries are pending, and the earliest due time."""
    pending = Delivery.objects.filter(status=DeliveryStatus.PENDING, endpoint__in=endpoint_ids)
    rows = (
        pending.order_by()
        .values_list("endpoint")
        .annotate(waiting=Count("pk"), retried=Count("pk", filter=Q(run_attempts__gt=0)), oldest=Min("next_attempt_at"))
    )
    return {pk: WaitingFigures(count, retried, oldest) for pk, count, retried, oldest in rows}


def converged(endpoints: Collection[ClientEndpoint]) -> Mapping[int, Convergence]:
    """Return the convergence by endpoint, as far as it is known at little cost."""
    return known_convergence(endpoints, using=router.db_for_read(Delivery))


def workers(now: datetime) -> list[WorkerHeartbeat]:
    """Return the workers that count as running, in the order of names."""
    return list(WorkerHeartbeat.objects.filter(seen_at__gt=now - attention.WORKER_SEEN_WITHIN).order_by("name"))


def undelivered_since() -> datetime | None:
    """Return since when work has been due that no worker does; ``None`` if all is well.

    Deliveries to endpoints that are disabled, resting or without credentials do not count: no worker sends them now.
    """
    using = router.db_for_read(Delivery)
    now = db_now(using)
    last_heartbeat_at = WorkerHeartbeat.objects.using(using).aggregate(last=Max("seen_at"))["last"]
    if attention.is_seen(last_heartbeat_at, now):
        return None
    return attention.undelivered_since(_oldest_due_at(now, using=using), last_heartbeat_at, now)


def _oldest_due_at(now: datetime, *, using: str) -> datetime | None:
    sendable = ClientEndpoint.objects.using(using).filter(in_state(EndpointState.ACTIVE, now)).order_by()
    due = Delivery.objects.using(using).due(now).filter(endpoint=OuterRef("pk")).order_by("next_attempt_at")
    # One index lookup for each endpoint and priority, so the cost does not grow with the number of deliveries.
    firsts = [Subquery(due.filter(priority=value).values("next_attempt_at")[:1]) for value in Priority.values]
    return min((first for row in sendable.values_list(*firsts) for first in row if first is not None), default=None)
