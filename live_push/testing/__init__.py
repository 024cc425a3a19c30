"""Helpers for the tests of host projects: capture what code pushes, and deliver it to a scripted client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import router
from django.db.models import Max, Min, Prefetch

from live_push.contract.encoding import encode_stored
from live_push.engines.run import run_once
from live_push.models import Delivery, EndpointHealth, Push
from live_push.models.clock import db_now, stopped
from live_push.outbox import snapshots
from live_push.outbox.record import begin_anew
from live_push.testing.https_server import Answer, EndpointServer, Hold, Received, Reset

__all__ = ["Answer", "CapturedPush", "EndpointServer", "Hold", "Received", "Reset", "captured_pushes", "drain"]


@dataclass(frozen=True)
class CapturedPush:
    """One captured push.

    ``trigger``
        The cause: a value of :class:`~live_push.models.PushTrigger`.
    ``payload``
        The body for an endpoint without options; empty if it can't be built, and then ``error`` says why. The body of
        a resend shows the state at the end of the capture, because it is built when it is first sent.
    ``endpoints``
        The sorted names of the endpoints to which it is sent.
    """

    profile_id: int
    trigger: str
    payload: dict[str, Any]
    endpoints: tuple[str, ...]
    error: str = ""


@contextmanager
def captured_pushes(*, using: str | None = None) -> Iterator[list[CapturedPush]]:
    """Capture the pushes that are recorded inside the block. The list is filled at the end of the block, in order.

    The block acts as a transaction, also inside the one of Django's ``TestCase``. Several saves of a profile outside of
    ``atomic()`` give one push with the last state, and saves before or after the block are not part of it. As always,
    nothing is recorded without an active endpoint.
    """
    using = using or router.db_for_write(Push)
    captured: list[CapturedPush] = []
    begin_anew(using=using)
    before: int = Push.objects.using(using).aggregate(newest=Max("pk"))["newest"] or 0
    yield captured
    begin_anew(using=using)
    pushes = Push.objects.using(using).filter(pk__gt=before, profile__isnull=False).order_by("pk")
    # The router selects the database of a prefetch, unless its queryset names one.
    deliveries = Prefetch("deliveries", Delivery.objects.using(using).select_related("endpoint"))
    captured += [_captured(push, using=using) for push in pushes.prefetch_related(deliveries)]


def _captured(push: Push, *, using: str) -> CapturedPush:
    stored, error, profile_id = push.payload, push.error, push.profile_id or 0
    if stored is None and not error:
        snapshot = snapshots.build_snapshot(snapshots.read_rows([profile_id], using=using)[profile_id], using=using)
        stored, error = snapshot.payload, snapshot.error
    return CapturedPush(
        profile_id=profile_id,
        trigger=push.trigger,
        payload={} if stored is None else json.loads(encode_stored(stored)),
        endpoints=tuple(sorted(delivery.endpoint.name for delivery in push.deliveries.all())),
        error=error,
    )


def drain(*, until: datetime | None = None, using: str | None = None) -> int:
    """Deliver what is due now; return the number of attempts when all are done.

    With ``until`` (an aware datetime), also deliver what falls due up to then, including retries, each at its time. The
    clock of live_push is moved forward, so the call does not wait. Retries have no jitter, so that tests are
    repeatable.

    A later call in the same test continues at the latest time at which something was sent, with the rest of a rate
    limit at that time.
    """
    using = using or router.db_for_write(Delivery)
    attempts = 0
    moment: datetime | None = _now(using)
    while moment is not None:
        with stopped(moment):
            attempts += run_once(using, random=_no_jitter)
        moment = None if until is None else _next_moment(moment, until, using=using)
    return attempts


def _now(using: str) -> datetime:
    """Return the database's time, or the time that an earlier call in the same test has reached if it is later."""
    # Read from the rows, because these are removed with the test that wrote them.
    reached: dict[str, datetime | None] = EndpointHealth.objects.using(using).aggregate(
        rate=Max("rate_at"), success=Max("last_success_at"), failure=Max("last_failure_at")
    )
    return max([db_now(using), *(moment for moment in reached.values() if moment is not None)])


def _no_jitter() -> float:
    return 0.0


def _next_moment(now: datetime, until: datetime, *, using: str) -> datetime | None:
    """Return the next time, up to a limit, at which something may be sent.

    Then a delivery falls due, an endpoint has rested, or a rate limit allows more.
    """
    pending = Delivery.objects.using(using).filter(endpoint__is_active=True)
    resting = EndpointHealth.objects.using(using).filter(endpoint__in=pending.live().values("endpoint"))
    moments = [
        pending.filter(next_attempt_at__gt=now).aggregate(first=Min("next_attempt_at"))["first"],
        resting.filter(rests_until__gt=now).aggregate(first=Min("rests_until"))["first"],
    ]
    if pending.due(now).filter(endpoint__rate_limit_per_second__isnull=False).exists():
        moments.append(now + timedelta(seconds=1))
    return min((moment for moment in moments if moment is not None and moment <= until), default=None)
