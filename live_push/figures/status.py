"""The status: deliveries and health by endpoint, and the workers.

It takes at most seven statements, or six if it does not have to count all members, and one more if an endpoint gets
only changes. The number does not depend on the length of the log and the number of endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from django.db.models import Count, Min, Q, Sum

from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth, EndpointHour, WorkerHeartbeat
from live_push.models.clock import DbNow, db_now
from live_push.models.endpoint_state import state_of

from . import attention
from .convergence import Convergence, convergence
from .stored_convergence import known_convergence

Counting: TypeAlias = Literal["never", "if_unknown", "always"]
"""When to count the convergence over all members, which takes seconds with a million of them.

``never``
    Take what is known at little cost, see :func:`~live_push.figures.stored_convergence.known_convergence`.
``if_unknown``
    Count if the convergence of some endpoint is not known otherwise.
``always``
    Count in any case.
"""

FAILED_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class EndpointStatus:
    """The figures of one endpoint.

    ``state``
        A value of :class:`~live_push.models.EndpointState`; ``resting`` lasts until ``rests_until``.
    ``pending``, ``sending``
        The numbers of deliveries that wait for an attempt, and that a worker has claimed.
    ``due``
        The number of pending deliveries whose time has come; ``oldest_due_at`` is the earliest due time.
    ``left_out_24h``
        The number of deliveries of an endpoint with ``only_changes`` that held nothing new, in about 24 hours.
    ``convergence``
        ``None`` if no worker has counted the endpoint yet, and nothing else has.
    """

    id: int
    name: str
    state: str
    breaker: str
    rests_until: datetime | None
    disabled_reason: str
    last_success_at: datetime | None
    failing_since: datetime | None
    pending: int
    sending: int
    due: int
    oldest_due_at: datetime | None
    failed_24h: int
    left_out_24h: int
    convergence: Convergence | None


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One worker, or all tasks of one host; ``seen_at`` is the time of the last heartbeat."""

    name: str
    engine: str
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Status:
    """The figures of all endpoints as of ``at``, and the workers, those seen last first."""

    at: datetime
    endpoints: list[EndpointStatus]
    workers: list[WorkerStatus]

    @property
    def convergence_age(self) -> timedelta | None:
        """How long ago the convergence of all endpoints was counted; ``None`` if that of some endpoint is unknown."""
        ages = [
            None if (figure := endpoint.convergence) is None else self.at - (figure.counted_at or self.at)
            for endpoint in self.endpoints
        ]
        known = [age for age in ages if age is not None]
        return max(known, default=timedelta(0)) if len(known) == len(ages) else None

    @property
    def due(self) -> int:
        """The number of deliveries that could be sent now: they are due, and their endpoint is active."""
        return sum(endpoint.due for endpoint in self.endpoints if endpoint.state == "active")

    @property
    def oldest_due_at(self) -> datetime | None:
        """The earliest due time of the deliveries that ``due`` counts."""
        due_times = [endpoint.oldest_due_at for endpoint in self.endpoints if endpoint.state == "active"]
        return min((due_at for due_at in due_times if due_at is not None), default=None)

    @property
    def last_heartbeat_at(self) -> datetime | None:
        """The time of the last heartbeat of any worker."""
        return self.workers[0].seen_at if self.workers else None

    @property
    def worker_seen(self) -> bool:
        """Whether a worker sent a heartbeat within a minute."""
        return attention.is_seen(self.last_heartbeat_at, self.at)

    @property
    def is_healthy(self) -> bool:
        """False if work has been due for half a minute and no worker does it."""
        return attention.undelivered_since(self.oldest_due_at, self.last_heartbeat_at, self.at) is None


def status(*, using: str, counting: Counting = "if_unknown") -> Status:
    """Return the status of a database."""
    rows = EndpointHealth.objects.using(using).select_related("endpoint").order_by("endpoint__name")
    healths = list(rows.annotate(now=DbNow()))
    now = healths[0].now if healths else db_now(using)
    live, failed = _live(now, using=using), _failed(now - FAILED_WITHIN, using=using)
    endpoints = [health.endpoint for health in healths]
    converged = _converged(endpoints, counting, using=using)
    left_out = _left_out(endpoints, now - FAILED_WITHIN, using=using)
    return Status(
        at=now,
        endpoints=[
            _endpoint_status(
                health.endpoint,
                health,
                live.get(health.pk, {}),
                failed.get(health.pk, 0),
                left_out.get(health.pk, 0),
                converged.get(health.pk),
                now,
            )
            for health in healths
        ],
        workers=[
            WorkerStatus(name=beat.name, engine=beat.engine, started_at=beat.started_at, seen_at=beat.seen_at)
            for beat in WorkerHeartbeat.objects.using(using).order_by("-seen_at")
        ],
    )


def _converged(endpoints: list[ClientEndpoint], counting: Counting, *, using: str) -> dict[int, Convergence]:
    if counting != "always":
        known = known_convergence(endpoints, using=using)
        if counting == "never" or len(known) == len(endpoints):
            return known
    return {figure.endpoint_id: figure for figure in convergence(using=using)}


def _endpoint_status(
    endpoint: ClientEndpoint,
    health: EndpointHealth,
    live: dict[str, Any],
    failed: int,
    left_out: int,
    figure: Convergence | None,
    now: datetime,
) -> EndpointStatus:
    state = state_of(endpoint, health, now).value
    return EndpointStatus(
        id=endpoint.pk,
        name=endpoint.name,
        state=state,
        breaker=health.breaker_state,
        rests_until=health.rests_until if state == "resting" else None,
        disabled_reason=endpoint.disabled_reason if state == "disabled" else "",
        last_success_at=health.last_success_at,
        failing_since=health.failing_since,
        pending=live.get("pending", 0),
        sending=live.get("sending", 0),
        due=live.get("due", 0),
        oldest_due_at=live.get("oldest_due_at"),
        failed_24h=failed,
        left_out_24h=left_out,
        convergence=figure,
    )


def _live(now: datetime, *, using: str) -> dict[int, dict[str, Any]]:
    due = Q(next_attempt_at__lte=now)
    rows = (
        Delivery.objects.using(using)
        .live()
        .values("endpoint")
        .annotate(
            pending=Count("pk", filter=Q(status=DeliveryStatus.PENDING)),
            sending=Count("pk", filter=Q(status=DeliveryStatus.SENDING)),
            due=Count("pk", filter=due),
            oldest_due_at=Min("next_attempt_at", filter=due),
        )
    )
    return {row["endpoint"]: dict(row) for row in rows.order_by()}


def _left_out(endpoints: list[ClientEndpoint], since: datetime, *, using: str) -> dict[int, int]:
    if not any(endpoint.only_changes for endpoint in endpoints):
        return {}
    hours = EndpointHour.objects.using(using).since(since).order_by()
    return dict(hours.values_list("endpoint").annotate(Sum("left_out")))


def _failed(since: datetime, *, using: str) -> dict[int, int]:
    failed = Delivery.objects.using(using).filter(status=DeliveryStatus.FAILED, ended_at__gte=since)
    return dict(failed.order_by().values_list("endpoint").annotate(Count("pk")))
