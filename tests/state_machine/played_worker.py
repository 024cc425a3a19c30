"""A worker of which every step is decided from outside: the real pipeline, without threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

from live_push.delivery.deliver import Prepared
from live_push.delivery.result import Result
from live_push.delivery.transport import Request
from live_push.engines.pipeline import Pipeline
from live_push.models.clock import db_now
from live_push.outbox import leases
from live_push.outbox.catch_up import catch_up
from live_push.outbox.claim import lone_deliveries_due

from . import promises
from .wire import Flight, Wire

THREADS = 5
WINDOW = 6

_numbers = count(1)


class PlayedWorker:
    """Pipeline, pool and transport in one; what its pool is given goes on the wire instead of to a thread."""

    def __init__(self, alias: str, wire: Wire) -> None:
        self.alias = alias
        self.wire = wire
        self.flights: list[Flight] = []
        self._landing: Result | None = None
        self.pipeline = Pipeline(
            using=alias,
            name=f"{alias}-{next(_numbers)}",
            threads=THREADS,
            transport=self,
            dice=random.Random(0).random,
            window=WINDOW,
            monotonic=lambda: db_now(alias).timestamp(),
        )
        self.pipeline.workers = 2
        self.pipeline._pool = self  # type: ignore[assignment]

    # As the pipeline's pool

    def submit(self, attempt: Callable[[Prepared], None], prepared: Prepared) -> None:
        flight = Flight(prepared, db_now(self.alias), attempt)
        promises.nothing_older_starts_after_newer_was_accepted(flight)
        self.flights.append(flight)
        self.wire.start(flight)

    def shutdown(self, *, wait: bool) -> None:
        """There are no threads."""

    # As the pipeline's transport

    def send(self, request: Request) -> Result:
        assert self._landing is not None
        return self._landing

    def close(self) -> None:
        """There are no connections."""

    # As what the test plays with

    def turn(self) -> bool:
        """What the worker's loop does over and over; false: there was nothing to do."""
        did_something = self.pipeline.turn(looking=True)
        if self.pipeline.is_idle and lone_deliveries_due(using=self.alias):
            did_something = self.pipeline.turn(alone=True)
        return did_something

    def keep_house(self) -> None:
        """What it does now and then."""
        leases.release_stalled(using=self.alias, dice=random.Random(0).random)
        catch_up(using=self.alias)

    def land(self, flight: Flight) -> None:
        """The answer arrives."""
        self.flights.remove(flight)
        self.wire.flights.remove(flight)
        self._landing = flight.result
        flight.attempt(flight.prepared)

    def vanish(self) -> None:
        """Killed: what was on the wire is the clients' business, and nobody waits for the answers."""
        for flight in self.flights:
            self.wire.flights.remove(flight)
        self.flights.clear()
