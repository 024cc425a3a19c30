"""How the pushes are doing, in figures: what waits, for whom, since when, and who works on it.

A fixed number of statements, however long the log is and however many endpoints there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q

from .convergence import Convergence, convergence
from .models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth, WorkerHeartbeat
from .models.clock import db_now

SEEN_WITHIN = timedelta(minutes=1)
FAILED_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class EndpointStatus:
    """One endpoint's figures.

    ``state``
        ``active``; ``resting`` until ``rests_until`` (its breaker is open, or the client asked for a rest);
        ``needs_credentials``; ``disabled``.
    ``pending``, ``sending``
        Deliveries that wait for an attempt, and that a worker has.
    ``due``
        How many of the pending ones have reached their time; ``oldest_due_at`` is the earliest such time.
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
    convergence: Convergence


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One worker, or all tasks of one host; ``seen_at`` is its last sign of life."""

    name: str
    engine: str
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Status:
    """The figures of all endpoints, as of ``at``, and the workers, the one seen last first."""

    at: datetime
    endpoints: list[EndpointStatus]
    workers: list[WorkerStatus]

    @property
    def due(self) -> int:
        """Deliveries that could be sent now: due, to endpoints that are active."""
        return sum(endpoint.due for endpoint in self.endpoints if endpoint.state == "active")

    @property
    def oldest_due_at(self) -> datetime | None:
        """Since when the longest-waiting of them waits."""
        ages = [endpoint.oldest_due_at for endpoint in self.endpoints if endpoint.state == "active"]
        return min((age for age in ages if age is not None), default=None)

    @property
    def worker_seen(self) -> bool:
        """Whether any worker left a sign of life within a minute."""
        return any(worker.seen_at > self.at - SEEN_WITHIN for worker in self.workers)

    @property
    def is_healthy(self) -> bool:
        """False where work is due and nobody does it."""
        return self.worker_seen or not self.due


def status(*, using: str) -> Status:
    """Read the figures."""
    now = db_now(using)
    figures = {figure.endpoint_id: figure for figure in convergence(using=using)}
    live, failed = _live(now, using=using), _failed(now - FAILED_WITHIN, using=using)
    healths = EndpointHealth.objects.using(using).select_related("endpoint").order_by("endpoint__name")
    return Status(
        at=now,
        endpoints=[
            _endpoint_status(health.endpoint, health, live.get(health.pk, {}), failed.get(health.pk, 0), figure, now)
            for health in healths
            # One that was made between two of the statements is told next time.
            if (figure := figures.get(health.pk)) is not None
        ],
        workers=[
            WorkerStatus(name=beat.name, engine=beat.engine, started_at=beat.started_at, seen_at=beat.seen_at)
            for beat in WorkerHeartbeat.objects.using(using).order_by("-seen_at")
        ],
    )


def state_of(endpoint: ClientEndpoint, health: EndpointHealth, now: datetime) -> str:
    """The one word for how an endpoint is doing; see :class:`EndpointStatus`."""
    if not endpoint.is_active:
        return "disabled"
    if health.needs_credentials:
        return "needs_credentials"
    return "resting" if health.rests_until is not None and health.rests_until > now else "active"


def _endpoint_status(
    endpoint: ClientEndpoint,
    health: EndpointHealth,
    live: dict[str, Any],
    failed: int,
    figure: Convergence,
    now: datetime,
) -> EndpointStatus:
    state = state_of(endpoint, health, now)
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


def _failed(since: datetime, *, using: str) -> dict[int, int]:
    failed = Delivery.objects.using(using).filter(status=DeliveryStatus.FAILED, ended_at__gte=since)
    return dict(failed.order_by().values_list("endpoint").annotate(Count("pk")))
