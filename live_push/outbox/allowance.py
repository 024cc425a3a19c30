"""How many requests a worker may send to an endpoint: its slots, and the endpoint's rate limit.

A slot is the right to have one request in flight. Workers lease slots, so that all workers together stay within the
endpoint's ``max_in_flight``. The endpoint's health row stores the leases and what is left of the rate limit. The caller
must have locked this row.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial

from django.db.models import F

from live_push.models import ClientEndpoint, EndpointHealth
from live_push.models.transactions import held_elsewhere, in_transaction, lock_free

from .claim_request import ClaimRequest

UNLIMITED = 1_000_000
"""The number of requests that may start now at an endpoint without a rate limit."""


def slots_free_for(request: ClaimRequest, health: EndpointHealth, endpoint: ClientEndpoint, now: datetime) -> int:
    """Return how many slots this worker may hold, so that all workers together stay within ``max_in_flight``.

    The number is an even share of ``max_in_flight``, at most what the other workers have left, but never less than the
    number of this worker's requests in flight. Expired leases are removed. A request ends before the lease of its slot,
    so what is in flight without a lease has ended, and the worker has only not seen it yet.
    """
    health.slots = {name: lease for name, lease in health.slots.items() if lease[1] > now.timestamp()}
    others = sum(count for name, (count, _until) in health.slots.items() if name != request.name)
    share = max(1, endpoint.max_in_flight // max(1, request.workers))
    own, _until = health.slots.get(request.name, (0, 0.0))
    in_flight = min(request.in_flight.get(endpoint.pk, 0), own)
    count: int = max(min(endpoint.max_in_flight - others, share), in_flight, 0)
    return count


def lease_slots(health: EndpointHealth, worker_name: str, count: int, until: datetime) -> None:
    """Lease this many slots to the worker, until ``until``. A count of 0 gives its slots back."""
    release_slots(health, worker_name)
    if count:
        health.slots = {**health.slots, worker_name: [count, until.timestamp()]}


def release_slots(health: EndpointHealth, worker_name: str) -> None:
    """Give the worker's slots back."""
    health.slots = {name: lease for name, lease in health.slots.items() if name != worker_name}


def rate(health: EndpointHealth, endpoint: ClientEndpoint, now: datetime) -> int:
    """Return how many requests may start now under the rate limit.

    The limit is a token bucket that holds the requests of one second, at least one.
    """
    limit = endpoint.rate_limit_per_second
    if limit is None:
        return UNLIMITED
    burst = max(1.0, limit)
    elapsed = (now - health.rate_at).total_seconds() if health.rate_at else burst / limit
    health.rate_allowance = min(burst, health.rate_allowance + max(0.0, elapsed) * limit)
    health.rate_at = now
    return int(health.rate_allowance)


def spend(health: EndpointHealth, endpoint: ClientEndpoint, requests: int) -> None:
    """Subtract requests from the allowance of the rate limit."""
    if endpoint.rate_limit_per_second is not None:
        health.rate_allowance -= requests


def give_back_rate(endpoint_id: int, requests: int, *, using: str) -> None:
    """Add requests to the allowance of the rate limit that were claimed and need not be sent.

    If another transaction has locked the endpoint's health row, the allowance stays smaller until it fills again.
    """

    def add() -> None:
        if free := lock_free(EndpointHealth.objects.using(using), [endpoint_id]):
            healths = EndpointHealth.objects.using(using).filter(pk__in=free)
            healths.update(rate_allowance=F("rate_allowance") + requests)

    in_transaction(add, using=using)


def give_back_slots(worker_name: str, endpoint_ids: Collection[int], *, using: str) -> set[int]:
    """Give back a worker's slots at endpoints for which it has no deliveries left.

    Returns the endpoints whose health rows another transaction has locked. Call it again for these endpoints later.
    """
    if not endpoint_ids:
        return set()
    released = in_transaction(partial(_give_back_slots, worker_name, endpoint_ids, using=using), using=using)
    return held_elsewhere(EndpointHealth, endpoint_ids, released, using=using)


def _give_back_slots(worker_name: str, endpoint_ids: Collection[int], *, using: str) -> list[int]:
    healths = EndpointHealth.objects.using(using)
    free = lock_free(healths.all(), endpoint_ids)
    for health in healths.filter(pk__in=free):
        release_slots(health, worker_name)
        health.save(using=using, update_fields=["slots"])
    return free
