"""For the tests of host projects: see what a piece of code pushes, and deliver it to a client that follows a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import router
from django.db.models import Max, Min

from .contract.payload import body_of
from .engines.base import run_once
from .https_server import Answer, EndpointServer, Hold, Received, Reset
from .models import Delivery, EndpointHealth, Push
from .models.clock import db_now, stopped
from .outbox import snapshots
from .outbox.record import begin_anew

__all__ = ["Answer", "CapturedPush", "EndpointServer", "Hold", "Received", "Reset", "captured_pushes", "drain"]


@dataclass(frozen=True)
class CapturedPush:
    """One push that was recorded.

    ``trigger``
        What caused it: a value of :class:`~live_push.models.PushTrigger`.
    ``payload``
        The body as an endpoint without options of its own gets it; empty where it can't be built, and then ``error``
        says why. That of a resend is of the moment when the capture ended: it is drawn when it is first sent.
    ``endpoints``
        The names of the endpoints that it goes to, sorted.
    """

    profile_id: int
    trigger: str
    payload: dict[str, Any]
    endpoints: tuple[str, ...]
    error: str = ""


@contextmanager
def captured_pushes(*, using: str | None = None) -> Iterator[list[CapturedPush]]:
    """Capture what is recorded inside the block; the list is filled at its end, in the order of recording.

    A block is like a transaction of its own, also inside the one of Django's ``TestCase``: however often it saves a
    profile outside of ``atomic()``, that is one push, with the last state, but never one with what was saved before or
    after the block. As always, nothing is recorded without an active endpoint.
    """
    using = using or router.db_for_write(Push)
    captured: list[CapturedPush] = []
    begin_anew(using=using)
    before: int = Push.objects.using(using).aggregate(newest=Max("pk"))["newest"] or 0
    yield captured
    begin_anew(using=using)
    pushes = Push.objects.using(using).filter(pk__gt=before, profile__isnull=False).order_by("pk")
    captured += [_captured(push, using=using) for push in pushes.prefetch_related("deliveries__endpoint")]


def _captured(push: Push, *, using: str) -> CapturedPush:
    stored, error, profile_id = push.payload, push.error, push.profile_id or 0
    if stored is None and not error:
        snapshot = snapshots.build(snapshots.read([profile_id], using=using)[profile_id], using=using)
        stored, error = snapshot.payload, snapshot.error
    return CapturedPush(
        profile_id=profile_id,
        trigger=push.trigger,
        payload={} if stored is None else json.loads(body_of(stored)),
        endpoints=tuple(sorted(delivery.endpoint.name for delivery in push.deliveries.all())),
        error=error,
    )


def drain(*, until: datetime | None = None, using: str | None = None) -> int:
    """Deliver what is due now, and return when that is done; returns the number of attempts.

    With ``until`` (aware) also what falls due up to that moment, retries included, each at its time: the clock of
    live_push is moved meanwhile, and nobody waits. Retries come without jitter, so that a test repeats.
    """
    using = using or router.db_for_write(Delivery)
    if until is None:
        return run_once(using, dice=_no_jitter)
    attempts = 0
    moment: datetime | None = db_now(using)
    while moment is not None and moment <= until:
        with stopped(moment):
            attempts += run_once(using, dice=_no_jitter)
        moment = _next_moment(moment, using=using)
    return attempts


def _no_jitter() -> float:
    return 0.0


def _next_moment(now: datetime, *, using: str) -> datetime | None:
    """When something may be sent next: a delivery falls due, an endpoint has rested, or a rate limit allows more."""
    pending = Delivery.objects.using(using).filter(endpoint__is_active=True)
    resting = EndpointHealth.objects.using(using).filter(endpoint__in=pending.live().values("endpoint"))
    moments = [
        pending.filter(next_attempt_at__gt=now).aggregate(first=Min("next_attempt_at"))["first"],
        resting.filter(rests_until__gt=now).aggregate(first=Min("rests_until"))["first"],
    ]
    if pending.due(now).filter(endpoint__rate_limit_per_second__isnull=False).exists():
        moments.append(now + timedelta(seconds=1))
    return min((moment for moment in moments if moment is not None), default=None)
