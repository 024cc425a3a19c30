"""How much of an endpoint's work one worker may take: places on the wire, and requests a second.

Everything here reads and writes the endpoint's health row, whose lock the caller holds.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from live_push.models import ClientEndpoint, EndpointHealth

if TYPE_CHECKING:
    from .claim import Worker

UNLIMITED = 1_000_000


def slots_free_for(worker: Worker, health: EndpointHealth, endpoint: ClientEndpoint, now: datetime) -> int:
    """How many places on the wire this worker may hold, so that all workers together stay within ``max_in_flight``.

    Its even share, but never less than what it has under way already. Leases that are over are forgotten.
    """
    health.slots = {name: lease for name, lease in health.slots.items() if lease[1] > now.timestamp()}
    others = sum(count for name, (count, _until) in health.slots.items() if name != worker.name)
    share = max(1, endpoint.max_in_flight // max(1, worker.workers))
    count: int = max(min(endpoint.max_in_flight - others, share), worker.in_flight.get(endpoint.pk, 0), 0)
    return count


def lease_slots(health: EndpointHealth, worker_name: str, count: int, until: datetime) -> None:
    """Hold so many places on the wire until then; none gives them back."""
    release_slots(health, worker_name)
    if count:
        health.slots = {**health.slots, worker_name: [count, until.timestamp()]}


def release_slots(health: EndpointHealth, worker_name: str) -> None:
    """Give a worker's places on the wire back."""
    health.slots = {name: lease for name, lease in health.slots.items() if name != worker_name}


def rate(health: EndpointHealth, endpoint: ClientEndpoint, now: datetime) -> int:
    """How many requests may start now: a token bucket that holds one second's worth, at least one request."""
    limit = endpoint.rate_limit_per_second
    if limit is None:
        return UNLIMITED
    burst = max(1.0, limit)
    elapsed = (now - health.rate_at).total_seconds() if health.rate_at else burst / limit
    health.rate_allowance = min(burst, health.rate_allowance + max(0.0, elapsed) * limit)
    health.rate_at = now
    return int(health.rate_allowance)


def spend(health: EndpointHealth, endpoint: ClientEndpoint, requests: int) -> None:
    """Take started requests off the allowance."""
    if endpoint.rate_limit_per_second is not None:
        health.rate_allowance -= requests
