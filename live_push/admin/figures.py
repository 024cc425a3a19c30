"""The figures that pages show, each from one statement, whatever the number of endpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.core.cache import cache
from django.db import router
from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from live_push.convergence import Convergence, convergence
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHour, Priority, WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.models.statistics import WAS_ACCEPTED
from live_push.outbox import prune

MOST_KEPT_SECONDS = 60
KEPT_TIMES = 30
"""Figures that look at every member are kept thirty times as long as the look took, at most a minute: however many
members there are, operators who reload cost the database next to nothing, and with a few the page is always fresh."""

OVERDUE = timedelta(seconds=30)
SEEN_WITHIN = timedelta(seconds=60)
DAY = timedelta(hours=24)
WEEK = timedelta(days=7)
PRUNED_WITHIN = timedelta(days=2)
"""Pruning runs daily; a night may be missed."""


@dataclass(frozen=True)
class Share:
    """How many of the counted attempts were accepted."""

    accepted: int = 0
    attempts: int = 0

    @property
    def failed(self) -> int:
        """Those that were not."""
        return self.attempts - self.accepted

    @property
    def percent(self) -> float | None:
        """0 to 100, rounded down, so that only all is 100; ``None`` where nothing was attempted."""
        return self.accepted * 1000 // self.attempts / 10 if self.attempts else None


@dataclass(frozen=True)
class Waiting:
    """What waits for an endpoint; ``retried`` are those that were tried before."""

    deliveries: int = 0
    retried: int = 0
    oldest_due_at: datetime | None = None


@dataclass(frozen=True)
class EndpointFigures:
    """What one look at an endpoint tells."""

    day: Share = field(default_factory=Share)
    waiting: Waiting = field(default_factory=Waiting)
    convergence: Convergence | None = None
    conflicts: int = 0
    """Ids of other members that it returned in seven days."""


def of_endpoints(endpoint_ids: Collection[int], now: datetime) -> dict[int, EndpointFigures]:
    """The figures of these endpoints, by id."""
    hours = EndpointHour.objects.since(now - DAY).filter(endpoint__in=endpoint_ids)
    day, waits, converged = shares(hours), waiting(endpoint_ids), converged_by_endpoint()
    found = conflicts(endpoint_ids, now)
    return {
        pk: EndpointFigures(day.get(pk, Share()), waits.get(pk, Waiting()), converged.get(pk), found.get(pk, 0))
        for pk in endpoint_ids
    }


def shares(hours: QuerySet[EndpointHour], by: str = "endpoint") -> dict[Any, Share]:
    """Attempts and how many of them were accepted, by endpoint or by ``hour``."""
    accepted = Coalesce(Sum("attempts", filter=WAS_ACCEPTED), 0)
    rows = hours.order_by().values_list(by).annotate(accepted=accepted, total=Sum("attempts"))
    return {key: Share(good, attempts) for key, good, attempts in rows}


def conflicts(endpoint_ids: Collection[int], now: datetime) -> dict[int, int]:
    """How many ids of other members each endpoint returned in seven days."""
    week = EndpointHour.objects.since(now - WEEK).in_conflict().filter(endpoint__in=endpoint_ids)
    return dict(week.order_by().values_list("endpoint").annotate(Sum("attempts")))


def unpruned(now: datetime) -> datetime | None:
    """When the oldest delivery ended that pruning should have deleted two days ago; ``None`` where it runs."""
    using = router.db_for_read(Delivery)
    late = [
        prune.ended_before(moment - PRUNED_WITHIN, status, using=using).order_by("ended_at")
        for status, moment in prune.kept_since(now).items()
    ]
    ends = [ended_at for rows in late for ended_at in rows.values_list("ended_at", flat=True)[:1]]
    return min((ended_at for ended_at in ends if ended_at is not None), default=None)


def waiting(endpoint_ids: Collection[int]) -> dict[int, Waiting]:
    """Pending deliveries, and when the oldest was or is due, by endpoint."""
    pending = Delivery.objects.filter(status=DeliveryStatus.PENDING, endpoint__in=endpoint_ids)
    rows = (
        pending.order_by()
        .values_list("endpoint")
        .annotate(waiting=Count("pk"), retried=Count("pk", filter=Q(run_attempts__gt=0)), oldest=Min("next_attempt_at"))
    )
    return {pk: Waiting(count, retried, oldest) for pk, count, retried, oldest in rows}


def converged_by_endpoint() -> Mapping[int, Convergence]:
    """The convergence figure by endpoint, at most a minute old."""
    key = "live_push:convergence"
    found: Mapping[int, Convergence] | None = cache.get(key)
    if found is None:
        began = monotonic()
        found = {row.endpoint_id: row for row in convergence(using=router.db_for_read(Delivery))}
        # Some caches know whole seconds only, and 0 keeps nothing.
        cache.set(key, found, int(min(KEPT_TIMES * (monotonic() - began), MOST_KEPT_SECONDS)))
    return found


def workers(now: datetime) -> list[WorkerHeartbeat]:
    """The workers that were seen lately."""
    return list(WorkerHeartbeat.objects.filter(seen_at__gt=now - SEEN_WITHIN).order_by("name"))


def undelivered() -> datetime | None:
    """Since when work has been due that nobody does; ``None`` where all is well: what the banner says.

    Work of endpoints that are off, rest or can't log in is not due: no worker would do it.
    """
    using = router.db_for_read(Delivery)
    now = db_now(using)
    if WorkerHeartbeat.objects.using(using).filter(seen_at__gt=now - SEEN_WITHIN).exists():
        return None
    able = ClientEndpoint.objects.using(using).active().exclude(health__needs_credentials=True)
    awake = able.exclude(health__rests_until__gt=now).order_by()
    due = Delivery.objects.using(using).due(now - OVERDUE).filter(endpoint=OuterRef("pk")).order_by("next_attempt_at")
    # One look for each endpoint and priority: that is how due deliveries are indexed, however many wait.
    firsts = [Subquery(due.filter(priority=value).values("next_attempt_at")[:1]) for value in Priority.values]
    return min((first for row in awake.values_list(*firsts) for first in row if first is not None), default=None)
