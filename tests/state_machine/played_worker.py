"""A worker of which every step is decided from outside: the real pipeline, without threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from live_push.delivery.send import Prepared
from live_push.delivery.transport import Request
from live_push.engines.base import do_housekeeping
from live_push.engines.pipeline import Pipeline
from live_push.models.clock import db_now, stopped
from live_push.outbox import release
from live_push.outbox.due_work import isolated_deliveries_due
from live_push.rules.result import Result

from . import promises
from .wire import TOO_LATE, Flight, Wire

THREADS = 5
WINDOW = 6

_numbers = count(1)


class PlayedWorker:
    """Pipeline, pool and transport in one; what its pool is given goes on the wire instead of to a thread."""

    def __init__(self, alias: str, wire: Wire) -> None:
        self.alias = alias
        self.wire = wire
        self.flights: list[Flight] = []
        self.landed: list[Flight] = []
        self._landing: Result | None = None
        self.pipeline = Pipeline(
            using=alias,
            name=f"{alias}-{next(_numbers)}",
            threads=THREADS,
            transport=self,
            random=random.Random(0).random,
            window=WINDOW,
            monotonic=lambda: db_now(alias).timestamp(),
        )
        self.pipeline.workers = 2
        self.pipeline._sender._pool = self  # type: ignore[assignment]

    # As the pipeline's pool

    def submit(self, attempt: Callable[..., None], prepared: Prepared, *more: Any) -> None:
        flight = Flight(prepared, db_now(self.alias), partial(attempt, prepared, *more))
        self.flights.append(flight)
        self.wire.start(flight)
        if flight.result is not TOO_LATE:
            promises.nothing_older_starts_after_newer_was_accepted(flight)
            if not self.wire.is_disturbed:
                promises.nothing_starts_outside_the_audience(flight)

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
        did_something = self.pipeline.turn(polling=True)
        if self.pipeline.is_idle and isolated_deliveries_due(using=self.alias):
            did_something = self.pipeline.turn(isolated=True)
        return did_something

    def do_housekeeping(self) -> None:
        """What it does now and then."""
        release.release_stalled(using=self.alias, random=random.Random(0).random)
        do_housekeeping(self.alias)

    def write(self, flight: Flight, *, heedless: bool = False) -> None:
        """The connection stands; see :meth:`Wire.write`."""
        if not flight.is_too_late:
            promises.nothing_older_starts_after_newer_was_accepted(flight)
        self.wire.write(flight, heedless=heedless)

    def land(self, flight: Flight) -> None:
        """The answer arrives."""
        self.flights.remove(flight)
        self.wire.flights.remove(flight)
        self.landed.append(flight)
        self._landing = flight.result
        # Whether it may still be sent was asked when it was begun.
        with stopped(flight.started_at):
            flight.attempt()

    def stop(self) -> None:
        """It writes down what it can, and ends."""
        # A verdict whose rows are locked is left to its lease.
        self.wire.orphan(self._unsettled)
        self.pipeline.drain()

    def vanish(self) -> None:
        """Killed: what was on the wire is the clients' business, and nobody waits for the answers."""
        self.wire.orphan([*self.flights, *self._unsettled])
        for flight in self.flights:
            self.wire.flights.remove(flight)
        self.flights.clear()

    @property
    def told(self) -> list[Flight]:
        """Those whose outcome it has written down, or found refused."""
        unsettled = self._unsettled
        return [flight for flight in self.landed if flight not in unsettled]

    @property
    def _unsettled(self) -> list[Flight]:
        """Those whose outcome is in its memory only."""
        self.pipeline._collect()
        kept = {id(outcome.delivery) for outcome in self.pipeline._unsettled}
        return [flight for flight in self.landed if id(flight.prepared.delivery) in kept]
