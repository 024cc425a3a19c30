"""The arguments of a claim.

This file is separate because ``claim`` imports ``allowance``, and both need the class.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from live_push.models import ClientEndpoint


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """A worker's name, what it already holds, and what it asks for.

    ``window``
        The number of deliveries that the worker may hold in all. With 0 it gets only what it can send at once.
    ``workers``
        The number of running workers. Each claims only its share of the window.
    ``held``, ``in_flight``
        By endpoint id: how many deliveries the worker holds, and how many of them are being sent.
    ``full``
        Endpoints for which the worker holds enough deliveries. The claim leaves them out.
    ``isolated``
        Claim one delivery that was being sent when a worker died, and nothing else.
    ``only``
        Claim only these deliveries.
    ``endpoints``
        The endpoints that the worker has read, by id. The claim adds what it reads, reads an endpoint again only if it
        has changed, and removes those without due work.
    ``patient``
        Endpoints whose attempts get a longer lease, see :func:`~live_push.outbox.lease_times.attempt_time`.
    """

    name: str
    window: int = 256
    workers: int = 1
    held: Mapping[int, int] = field(default_factory=dict)
    in_flight: Mapping[int, int] = field(default_factory=dict)
    full: Collection[int] = ()
    isolated: bool = False
    only: Collection[int] | None = None
    endpoints: dict[int, ClientEndpoint] = field(default_factory=dict)
    patient: Collection[int] = ()
