"""The worker: a loop around the pipeline, in a process of its own or in a thread of the web process."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connections

from live_push.models import WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.outbox import leases
from live_push.outbox.catch_up import catch_up
from live_push.outbox.claim import lone_deliveries_due

from . import heartbeat
from .base import Engine, make_transport, worker_name
from .pipeline import Pipeline

logger = logging.getLogger("live_push.engine")

POLL_SECONDS = 1.0
LEAST_POLL_SECONDS = 0.01
HOUSEKEEPING_SECONDS = 5.0
SEEN_WITHIN = timedelta(seconds=15)
MOST_BACK_OFF_SECONDS = 30.0
FINISHING_TRIES = 5
FINISHING_PAUSE_SECONDS = 1.0
THREADS = 64

# The loops of this process, so that a commit in it needs no poll to be noticed.
_loops: set[WorkerLoop] = set()


class WorkerEngine(Engine):
    """Wakes the loops of this process; those of others find the rows at their next poll."""

    def wake(self, using: str) -> None:
        for loop in list(_loops):
            loop.wake()


class WorkerLoop:
    """Runs a pipeline until it is stopped; survives the loss of its database."""

    def __init__(
        self,
        *,
        using: str,
        threads: int = THREADS,
        engine: str = "worker",
        dice: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.using, self.engine, self.monotonic = using, engine, monotonic
        self.name = worker_name()
        self.transport = make_transport()
        self.pipeline = Pipeline(using=using, name=self.name, threads=threads, transport=self.transport, dice=dice)
        self.dice = dice
        self._stopping = threading.Event()
        self._woken = self.pipeline.something_happened
        self._next_look = 0.0
        self._next_housekeeping = 0.0
        self._last_busy = 0.0
        self._back_off = 0.0
        self._lone_due = False

    def wake(self) -> None:
        """Look for due work now."""
        self._next_look = 0.0
        self._woken.set()

    def stop(self) -> None:
        """Ask the loop to end: it finishes what is under way and gives the rest back."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        """Deliver until stopped."""
        _loops.add(self)
        try:
            while not self._stopping.is_set():
                self._run_guarded(self._turn)
            self._stop_working()
        finally:
            _loops.discard(self)
            self.pipeline.close()
            self.transport.close()
            connections[self.using].close()

    def _stop_working(self) -> None:
        # What is under way has been sent: its verdict is worth more than one try.
        for _ in range(FINISHING_TRIES):
            if self._run_guarded(self._finish):
                return
            time.sleep(FINISHING_PAUSE_SECONDS)

    def _run_guarded(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception:
            # Mostly a database that is gone; whatever it is, what waits must not wait for ever.
            self._back_off = min(max(1.0, self._back_off * 2), MOST_BACK_OFF_SECONDS)
            logger.exception("The worker is in trouble; it tries again in %.0f s.", self._back_off)
            connections[self.using].close()
            self._stopping.wait(self._back_off)
            return False
        self._back_off = 0.0
        return True

    def _turn(self) -> None:
        self._woken.clear()
        now = self.monotonic()
        if now >= self._next_housekeeping:
            self._keep_house()
            self._next_housekeeping = now + HOUSEKEEPING_SECONDS
        looking = now >= self._next_look
        if looking:
            # Before the turn, so that a wake-up during it is not overwritten.
            self._next_look = now + self._poll_seconds(now)
        claiming = not self._lone_due and (looking or not self.pipeline.is_idle)
        did_something = self.pipeline.turn(claiming=claiming, looking=looking)
        if self._lone_due and self.pipeline.is_idle:
            did_something = self._deliver_lone_ones()
        if did_something:
            self._last_busy = now
            # Where there was something there may be more, however long it was quiet before.
            self._next_look = min(self._next_look, now + LEAST_POLL_SECONDS)
            return
        until_due = min(self._next_look, self._next_housekeeping) - now
        self._woken.wait(max(0.0, min(until_due, self.pipeline.patience)))

    def _deliver_lone_ones(self) -> bool:
        """One after the other, but for no longer than others can be made to wait."""
        until = self.monotonic() + HOUSEKEEPING_SECONDS
        delivered = False
        while self.pipeline.deliver_alone():
            delivered = True
            if self.monotonic() >= until or self._stopping.is_set():
                break
        self._lone_due = False
        return delivered

    def _poll_seconds(self, now: float) -> float:
        """A worker that was busy a moment ago looks again soon; one that is idle costs next to nothing."""
        return min(max(LEAST_POLL_SECONDS, (now - self._last_busy) / 10), POLL_SECONDS)

    def _keep_house(self) -> None:
        now = db_now(self.using)
        heartbeat.beat(self.name, self.engine, now, using=self.using)
        seen = WorkerHeartbeat.objects.using(self.using).filter(seen_at__gt=now - SEEN_WITHIN)
        self.pipeline.workers = seen.count()
        leases.release_stalled(using=self.using, dice=self.dice)
        catch_up(using=self.using)
        self._lone_due = lone_deliveries_due(using=self.using)

    def _finish(self) -> None:
        self.pipeline.drain()
        WorkerHeartbeat.objects.using(self.using).filter(name=self.name).delete()
