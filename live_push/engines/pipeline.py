"""The pipeline of one worker: claim deliveries, start them, send their requests, settle the results, and repeat.

One thread owns the database connection and executes all statements, in batches. A pool of threads, or the transport's
own event loop, only sends requests. So a slow client occupies a thread, but never holds a transaction open.

For each endpoint the worker leases slots: the number of attempts that it may have in flight there. All workers together
stay within the endpoint's ``max_in_flight``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from functools import partial
from queue import SimpleQueue

from django.db import DatabaseError, InterfaceError

from live_push import conf
from live_push.delivery.request import Transport
from live_push.delivery.send import prepare, too_late
from live_push.models import ClientEndpoint
from live_push.models.transactions import retried
from live_push.outbox import allowance, draw, give_back, lease_times
from live_push.outbox.claim import Claimed, claim, renew_slots
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.outbox.due_work import isolated_deliveries_due
from live_push.outbox.outcome import Outcome
from live_push.rules import local_clock
from live_push.rules.result import ErrorCode

from . import starting
from .endpoint_queues import EndpointQueue, StartBatch, choose
from .heartbeat import Heartbeat
from .sender import OutOfThreads, Sender
from .settling import Unsettled

logger = logging.getLogger("live_push.engine")

WINDOW = 256
"""The number of claimed deliveries that a worker may hold, so that its threads need not wait for the next claim."""

RUN_POLL_SECONDS = 0.2
"""Time between two polls of a run that waits for clients. Commits in other processes don't wake it, so it polls."""

CLAIM_EVERY_SECONDS = 0.05
"""How long a busy worker works on the deliveries that it holds before it claims for other endpoints."""

DRAWN_AGAIN_AFTER = timedelta(seconds=1)
"""Pause before a resend is tried again, if its body could not be drawn because the member's row was locked."""

LAST_TRIES = 20
LAST_TRIES_PAUSE_SECONDS = 0.05
"""The number of tries to give back slots when a worker ends and an endpoint's row is locked, and the pause between."""

PATIENT_SECONDS = 60.0
"""After a request was not written in time, the endpoint's attempts get a longer deadline for this many seconds."""


class Pipeline:
    """Moves deliveries from the claim to the settled result. :meth:`turn` never waits for a client."""

    def __init__(
        self,
        *,
        using: str,
        name: str,
        threads: int,
        transport: Transport,
        random: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        only: Collection[int] | None = None,
        window: int = WINDOW,
        engine: str = "once",
    ) -> None:
        self.using, self.name, self.threads, self.only, self.window = using, name, threads, only, window
        self.random, self.monotonic = random, monotonic
        self.heartbeat = Heartbeat(name, engine, using=using, monotonic=monotonic)
        self.workers = 1
        self.settled = 0
        self.something_happened = threading.Event()
        self._queues: dict[int, EndpointQueue] = {}
        self._endpoints: dict[int, ClientEndpoint] = {}
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._unsettled = Unsettled(using=using, worker=name, random=random, monotonic=monotonic)
        self._unreleased: set[int] = set()
        self._release_at = 0.0
        self._late: list[Outcome] = []
        self._patient_until: dict[int, float] = {}
        self._next_claim = 0.0
        self._start_batch = StartBatch(monotonic)
        self._sender = Sender(transport, threads, self._report)

    @property
    def in_flight(self) -> int:
        """Return the number of attempts in flight."""
        return sum(queue.in_flight for queue in self._queues.values())

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is held, in flight or to be settled, except outcomes whose rows are locked."""
        return not (self._queues or self._unsettled.has_new or self._late) and self._outcomes.empty()

    @property
    def seconds_until_due(self) -> float:
        """Return the seconds until an outcome must be settled or an attempt started; infinite if there is none."""
        return max(0.0, min(self._unsettled.seconds_until_due, self._start_batch.wait_until - self.monotonic()))

    def turn(self, *, claiming: bool = True, polling: bool = False, isolated: bool = False) -> bool:
        """Settle outcomes, claim deliveries and send requests. Return whether there was anything to do.

        ``polling`` claims even if the queues are full, because new deliveries may be due. ``isolated`` claims one
        delivery that was being sent when a worker died, and nothing else. ``claiming=False`` claims nothing.
        """
        self._collect()
        if self._queues:
            self.heartbeat.write_if_due()
        if self._unreleased and self.monotonic() >= self._release_at:
            self._release(())
        undone = self._undo()
        # Send first, so that the clients work while this thread waits for the database.
        sent = self._send()
        settled = self._settle() if self._unsettled.is_urgent(waits=claiming and self.in_flight > 0) else 0
        claimed = self._claim(isolated=isolated) if claiming and (polling or isolated or self._wants_more()) else 0
        sent += self._send()
        return bool(undone or settled or claimed or sent)

    def _wants_more(self) -> bool:
        """Return whether to claim: a queue runs low, there is no queue, or the last claim is at least 0.05 s old."""
        runs_low = any(len(queue.waiting) < queue.slots and not queue.is_exhausted for queue in self._queues.values())
        return runs_low or not self._queues or self.monotonic() >= self._next_claim

    def run_until_idle(self, *, enough: Callable[[], bool] = lambda: False) -> int:
        """Call :meth:`turn` until nothing is due or in flight, and return the number of settled attempts.

        When ``enough`` returns true, the run ends early: the attempts in flight are finished, and all other claimed
        deliveries are given back. Raises :class:`~live_push.engines.sender.OutOfThreads`, after the same steps.
        """
        try:
            return self._run_until_idle(enough)
        except OutOfThreads:
            self.drain()
            raise

    def _run_until_idle(self, enough: Callable[[], bool]) -> int:
        while not enough():
            self.something_happened.clear()
            if retried(self.turn, using=self.using):
                continue
            if self.is_idle and isolated_deliveries_due(using=self.using) and self.deliver_isolated():
                continue
            if self.is_idle and not self._unsettled.has_postponed:
                break
            # Commits in other processes don't wake this run, and their deliveries must not wait for a slow client.
            self.something_happened.wait(min(RUN_POLL_SECONDS, self.seconds_until_due))
        self.drain()
        return self.settled

    def drain(self) -> None:
        """Give back the deliveries that wait, finish the attempts in flight, and settle all outcomes."""
        self.give_back(self._queues)
        self._finish()
        self._settle(at_last=True)
        for _ in range(LAST_TRIES):
            if not self._release(()):
                break
            self.something_happened.clear()
            self.something_happened.wait(LAST_TRIES_PAUSE_SECONDS)

    def deliver_isolated(self) -> bool:
        """Deliver one isolated delivery with nothing else in flight. Return false if none is due."""
        if not retried(partial(self.turn, isolated=True), using=self.using):
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        while not self.is_idle:
            self.something_happened.clear()
            if not retried(partial(self.turn, claiming=False), using=self.using) and not self.is_idle:
                # Attempts wait for clients or settlement, and an isolated delivery may wait for its endpoint's row.
                self.something_happened.wait(min(RUN_POLL_SECONDS, self.seconds_until_due))

    def give_back(self, endpoint_ids: Iterable[int]) -> None:
        """Give back the waiting deliveries of these endpoints, so that any worker can claim them."""
        for pk in list(endpoint_ids):
            queue = self._queues[pk]
            if queue.waiting:
                if give_back.give_back(queue.waiting, using=self.using) < len(queue.waiting):
                    # A statement whose answer was lost may have started some of them.
                    give_back.undo(queue.waiting, using=self.using)
                queue.waiting.clear()
        self._release(pk for pk, queue in self._queues.items() if queue.is_empty)
        self._forget_empty()

    def _release(self, endpoint_ids: Iterable[int]) -> set[int]:
        """Give back the slots of these endpoints, and those that could not be given back before.

        Return the endpoints whose slots could not be given back, because their rows are locked.
        """
        idle = {*endpoint_ids, *(pk for pk in self._unreleased if pk not in self._queues)}
        self._release_at = self.monotonic() + RUN_POLL_SECONDS
        self._unreleased = allowance.give_back_slots(self.name, idle, using=self.using)
        return self._unreleased

    def close(self) -> None:
        """Stop the threads. Attempts in flight end with their own timeouts."""
        self._sender.close()

    def _claim(self, *, isolated: bool) -> int:
        if isolated and not self.is_idle:
            return 0
        self._next_claim = self.monotonic() + CLAIM_EVERY_SECONDS
        claims = claim(self._claim_request(isolated=isolated), using=self.using)
        for claimed in claims:
            self._take_in(claimed)
        for queue in self._queues.values():
            queue.is_exhausted = len(queue.waiting) < queue.slots
        self._give_back_without_slots()
        return sum(len(claimed.deliveries) for claimed in claims)

    def _claim_request(self, *, isolated: bool = False) -> ClaimRequest:
        held = {pk: len(queue.waiting) + queue.in_flight for pk, queue in self._queues.items()}
        is_full = sum(len(queue.waiting) for queue in self._queues.values()) >= self.window
        timely = self._timely()
        return ClaimRequest(
            name=self.name,
            # A full window must not block endpoints that have nothing in it: 0 claims what can be sent to them now.
            window=0 if is_full else self.window,
            workers=self.workers,
            held=held,
            in_flight={pk: queue.in_flight for pk, queue in self._queues.items()},
            full={
                pk
                for pk, queue in self._queues.items()
                if queue.fills_slots and (pk in timely or queue.in_flight >= queue.slots)
            },
            isolated=isolated,
            only=self.only,
            endpoints=self._endpoints,
            patient=self._patient,
        )

    def _renew_slots(self) -> None:
        """Renew the leases of slots in which an attempt can start, if the attempt might outlast the lease."""
        expiring = {pk for pk, queue in self._queues.items() if queue.can_start}
        if expiring and (expiring := expiring - self._timely()):
            for claimed in renew_slots(self._claim_request(), expiring, using=self.using):
                self._take_in(claimed)
            self._give_back_without_slots()

    def _timely(self) -> set[int]:
        """Return the endpoints whose slots are leased long enough for an attempt that is chosen now."""
        start_by, patient = local_clock.local_now() + lease_times.START_WITHIN_SECONDS, self._patient
        seconds, patient_seconds = (
            lease_times.attempt_time(patient=is_patient).total_seconds() for is_patient in (False, True)
        )
        return {
            pk
            for pk, queue in self._queues.items()
            if start_by + (patient_seconds if pk in patient else seconds) <= queue.slots_until
        }

    @property
    def _patient(self) -> set[int]:
        """Return the endpoints whose attempts get a longer deadline."""
        now = self.monotonic()
        return {pk for pk, until in self._patient_until.items() if until > now}

    def _give_back_without_slots(self) -> None:
        # These deliveries can't be sent from here: the endpoint rests, or other workers have all its slots.
        self.give_back([pk for pk, queue in self._queues.items() if not queue.slots])

    def _take_in(self, claimed: Claimed) -> None:
        if claimed.deliveries:
            self._queues.setdefault(claimed.endpoint.pk, EndpointQueue()).waiting.extend(claimed.deliveries)
        if queue := self._queues.get(claimed.endpoint.pk):
            queue.slots, queue.slots_until = claimed.slots, claimed.slots_until

    def _send(self) -> int:
        waits = self._start_batch.waits(self._queues.values())
        # The threads that reported meanwhile have compared the number of outcomes with an older number.
        self._wake_if_enough()
        if waits:
            return 0
        self._renew_slots()
        chosen = self._choose()
        if not chosen:
            return 0
        try:
            self._dispatch(chosen)
        except (DatabaseError, InterfaceError):
            # No request was sent yet. The next try sends the deliveries that were started, or undoes their starts.
            for delivery in reversed(chosen):
                if delivery.endpoint_id in self._queues:
                    self._queues[delivery.endpoint_id].waiting.appendleft(delivery)
            raise
        if any(queue.is_empty for queue in self._queues.values()):
            # None of an endpoint's chosen deliveries could be started, so give its slots to other workers.
            self.give_back(())
        return len(chosen)

    def _dispatch(self, chosen: list[ClaimedDelivery]) -> None:
        """Draw missing bodies, start the attempts and send. Give back what can't be started."""
        locked = draw.draw_bodies(chosen, using=self.using)
        give_back.give_back(locked, using=self.using, after=DRAWN_AGAIN_AFTER)
        out_of_threads: OutOfThreads | None = None
        unlocked = starting.without(locked, chosen)
        held = [delivery for queue in self._queues.values() for delivery in queue.waiting]
        for delivery in starting.start_current(unlocked, held, using=self.using, patient=self._patient):
            self._queues[delivery.endpoint_id].in_flight += 1
            prepared = prepare(delivery, delivery.endpoint)
            if out_of_threads is not None or not self._ends_in_time(delivery):
                self._report(too_late(prepared))
                continue
            try:
                self._sender.begin(prepared)
            except OutOfThreads as error:
                out_of_threads = error
        if out_of_threads is not None:
            raise out_of_threads

    def _ends_in_time(self, delivery: ClaimedDelivery) -> bool:
        """Return whether the attempt still ends within the lease of its slot. The process may have been suspended."""
        total = conf.current().TOTAL_TIMEOUT_SECONDS
        return (delivery.not_after or 0) + total <= self._queues[delivery.endpoint_id].slots_until

    def _choose(self) -> list[ClaimedDelivery]:
        """Take the deliveries to send now out of the queues.

        A quarter of the threads is kept for endpoints that have no attempt in flight.
        """
        # After a failed attempt, send nothing to the endpoint until the failure is settled: it may open the breaker.
        ready = self._timely() - self._unsettled.blocked()
        return choose(self._queues, ready, free=self.threads - self.in_flight, reserve=self.threads // 4)

    def _report(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)
        self._wake_if_enough()

    def _wake_if_enough(self) -> None:
        """Wake the pipeline's thread if there are as many outcomes as it waits for. Each time costs it a turn."""
        if self._outcomes.qsize() >= self._start_batch.missing:
            self.something_happened.set()

    def _collect(self) -> None:
        """Take the outcomes that the threads have reported."""
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            self._queues[outcome.delivery.endpoint_id].in_flight -= 1
            if outcome.result.error_code == ErrorCode.TOO_LATE:
                self._late.append(outcome)
                continue
            self._unsettled.add(outcome)

    def _undo(self) -> int:
        """Undo the starts whose requests were not written in time, and give their endpoints a longer deadline."""
        if not self._late:
            return 0
        give_back.undo([outcome.delivery for outcome in self._late], using=self.using)
        count, endpoint_ids = len(self._late), {outcome.delivery.endpoint_id for outcome in self._late}
        logger.warning(
            "%s requests were not written in time. Nothing was sent, and their deliveries wait again.", count
        )
        self._late.clear()
        for pk in endpoint_ids & self._queues.keys():
            self._queues[pk].is_exhausted = False
        unexpired = {pk: until for pk, until in self._patient_until.items() if until > self.monotonic()}
        self._patient_until = unexpired | dict.fromkeys(endpoint_ids, self.monotonic() + PATIENT_SECONDS)
        self.give_back(())
        return count

    def _settle(self, *, at_last: bool = False) -> int:
        settlement = self._unsettled.settle(self._drained, at_last=at_last)
        self.settled += len(settlement.done)
        # The next deliveries of the same profiles may be due now.
        for outcome in settlement.done:
            if queue := self._queues.get(outcome.delivery.endpoint_id):
                queue.is_exhausted = False
        self.give_back(settlement.resting & self._queues.keys())
        return len(settlement.done)

    def _drained(self, endpoint_ids: Collection[int]) -> list[int]:
        """Return those of the endpoints for which this worker has no deliveries left."""
        return [pk for pk in endpoint_ids if pk not in self._queues or self._queues[pk].is_empty]

    def _forget_empty(self) -> None:
        for pk in [pk for pk, queue in self._queues.items() if queue.is_empty]:
            del self._queues[pk]
