"""Whether a row that the host project holds for long slows down the pushes that do not need it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from live_push.models import ClientEndpoint, Delivery, EndpointHealth, UserProfile

from . import world
from .harness import Bench, Row, alternate
from .trips import SETTLING_IN_SECONDS, percentile, trips, url

RATE = 20
SECONDS = 20


def measure(bench: Bench) -> Iterator[Row]:
    ids = world.members(bench.scaled(RATE * (SETTLING_IN_SECONDS + SECONDS), 20) + 1)
    for what, rows in ROWS.items():
        values = alternate({"held": partial(_p99, ids, rows), "free": partial(_p99, ids, _nothing)}, bench.rounds)
        yield Row(f"p99 of an endpoint at {RATE}/s: {what} held / free", "ms", values, goal="≤ 1.1")


def _member(held_id: int, endpoint_id: int) -> QuerySet[Any]:
    return UserProfile.objects.filter(pk=held_id)


def _health(held_id: int, endpoint_id: int) -> QuerySet[Any]:
    return EndpointHealth.objects.filter(pk=endpoint_id)


def _nothing(held_id: int, endpoint_id: int) -> QuerySet[Any]:
    return UserProfile.objects.none()


ROWS = {"a member whose id another endpoint returned": _member, "the health of another endpoint": _health}


def _p99(ids: list[int], rows: Callable[[int, int], QuerySet[Any]]) -> float:
    held_id, *others = ids
    with world.workers(), world.client() as client, world.client() as other:
        world.endpoints(url(client), f"{other.url}/id")
        capturing = ClientEndpoint.objects.get(url__endswith="/id")
        ClientEndpoint.objects.filter(pk=capturing.pk).update(capture_third_party_id=True)
        world.fill_outbox([held_id])
        Delivery.objects.exclude(endpoint=capturing).delete()
        with _held(rows(held_id, capturing.pk)):
            world.go()
            return percentile([trip.ms for trip in trips(client, others, rate=RATE)], 99)


@contextmanager
def _held(rows: QuerySet[Any]) -> Iterator[None]:
    """A transaction of the host's, on a connection of its own, holds these rows."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(rows.select_for_update())
            begun.set()
            over.wait()
        connection.close()

    host = threading.Thread(target=hold)
    host.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        host.join()
