"""One worker's work: claim, start, send, settle, over and over.

A single thread owns the database connection and does all that touches it, in batches; a pool of threads, or one with an
event loop where the transport has one, does nothing but talk to clients. So a slow client costs a thread, never a
transaction.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, InterfaceError, OperationalError

from live_push.delivery.deliver import Outcome, Prepared, begin, draw_bodies, prepare, send
from live_push.delivery.request import ThreadlessTransport, Transport
from live_push.delivery.result import ErrorCode, Result
from live_push.delivery.settle import settle
from live_push.models import ClientEndpoint, Delivery
from live_push.outbox import leases
from live_push.outbox.active import active_endpoints
from live_push.outbox.claim import Share, Worker, claim, lone_deliveries_due

logger = logging.getLogger("live_push.engine")

WINDOW = 256
"""Rows that a worker likes to hold, so that its threads need not wait for the next claim."""

LOOK_AGAIN_SECONDS = 0.2
"""How soon a run that waits for clients looks for work that became due meanwhile."""


LOOK_SECONDS = 0.05
"""How long a busy worker goes on with what it holds before it looks for other endpoints' work."""

SETTLE_SECONDS = 0.05
"""How long a success may wait for others to be settled with: a batch costs little more than one."""

SETTLE_AT = 100
"""So many wait for no more."""

REFRESH_SECONDS = 5.0
"""How long a lane that holds enough is left alone; its places on the wire are leased, and shared with other workers."""


class _Lane:
    """One endpoint's claimed deliveries that wait for a thread."""

    def __init__(self) -> None:
        self.waiting: deque[Delivery] = deque()
        self.slots = 0
        self.in_flight = 0
        # The last claim did not fill it: there is no more for now, and asking at every turn would hold up the others.
        self.is_dry = False
        self.refresh_at = 0.0

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.in_flight

    def holds_enough(self, now: float) -> bool:
        """Whether all its places on the wire can be filled from what waits."""
        return len(self.waiting) >= self.slots > 0 and now < self.refresh_at


class Pipeline:
    """Holds claimed deliveries and moves them on; :meth:`turn` never blocks on a client."""

    def __init__(
        self,
        *,
        using: str,
        name: str,
        threads: int,
        transport: Transport,
        dice: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        only: Collection[int] | None = None,
        window: int = WINDOW,
    ) -> None:
        self.using, self.name, self.threads, self.only, self.window = using, name, threads, only, window
        self.transport, self.dice, self.monotonic = transport, dice, monotonic
        self._threadless = transport if isinstance(transport, ThreadlessTransport) else None
        self.workers = 1
        self.settled = 0
        self.something_happened = threading.Event()
        self._lanes: dict[int, _Lane] = {}
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._unsettled: list[Outcome] = []
        self._next_look = 0.0
        self._settle_by = math.inf
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="live_push")

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return sum(lane.in_flight for lane in self._lanes.values())

    @property
    def is_idle(self) -> bool:
        """Nothing held, nothing under way, nothing to settle."""
        return not self._lanes and not self._unsettled and self._outcomes.empty()

    @property
    def patience(self) -> float:
        """Seconds until a verdict must be written even if nothing else happens; infinite where none waits."""
        return max(0.0, self._settle_by - self.monotonic())

    def turn(self, *, claiming: bool = True, looking: bool = False, alone: bool = False) -> bool:
        """Settle what came back, claim what there is room for, send what may go; false: there was nothing to do.

        ``looking`` claims even where enough is held, because somebody said that there is new work.
        """
        self._collect()
        # The threads first: they talk to the clients while this one talks to the database.
        sent = self._send()
        settled = self._settle() if not claiming or self._must_settle() else 0
        claimed = self._claim(alone=alone) if claiming and (looking or alone or self._wants_more()) else 0
        sent += self._send()
        return bool(settled or claimed or sent)

    def _must_settle(self) -> bool:
        """Now, unless all of it is good news that others on the wire may be added to."""
        if not self.in_flight or len(self._unsettled) >= SETTLE_AT or self.monotonic() >= self._settle_by:
            return True
        return not all(_can_wait(outcome) for outcome in self._unsettled)

    def _wants_more(self) -> bool:
        runs_low = any(len(lane.waiting) < lane.slots and not lane.is_dry for lane in self._lanes.values())
        return runs_low or not self._lanes or self.monotonic() >= self._next_look

    def run_until_idle(self, *, enough: Callable[[], bool] = lambda: False) -> int:
        """Turn until nothing is due and nothing is under way; returns the number of settled attempts.

        Once it is ``enough`` nothing more is claimed: what is under way ends, the rest is given back.
        """
        while not enough():
            self.something_happened.clear()
            if self.turn():
                continue
            if not self.is_idle:
                # A commit elsewhere wakes nobody here, and a client that hangs must not hold up what it recorded.
                self.something_happened.wait(min(LOOK_AGAIN_SECONDS, self.patience))
            elif not (lone_deliveries_due(using=self.using) and self.deliver_alone()):
                return self.settled
        self.drain()
        return self.settled

    def drain(self) -> None:
        """Claim nothing more: give back what waits, finish what is under way."""
        self.give_back(self._lanes)
        self._finish()

    def deliver_alone(self) -> bool:
        """Deliver one delivery that killed a worker before, with nothing else under way; false where there is none."""
        if not self.turn(alone=True):
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        while not self.is_idle:
            self.something_happened.clear()
            if not self.turn(claiming=False) and not self.is_idle:
                self.something_happened.wait()

    def give_back(self, endpoint_ids: Iterable[int]) -> None:
        """Return the waiting deliveries of these endpoints, for whoever may send them."""
        for pk in list(endpoint_ids):
            lane = self._lanes[pk]
            if lane.waiting:
                leases.give_back(lane.waiting, using=self.using)
                lane.waiting.clear()
        idle = [pk for pk, lane in self._lanes.items() if lane.is_empty]
        leases.release_slots(self.name, idle, using=self.using)
        self._forget_empty()

    def close(self) -> None:
        """Let the threads go; their attempts under way end with their own timeouts."""
        self._pool.shutdown(wait=False)

    def _claim(self, *, alone: bool) -> int:
        if alone and not self.is_idle:
            return 0
        now = self.monotonic()
        self._next_look = now + LOOK_SECONDS
        held = {pk: len(lane.waiting) + lane.in_flight for pk, lane in self._lanes.items()}
        is_full = sum(len(lane.waiting) for lane in self._lanes.values()) >= self.window
        worker = Worker(
            name=self.name,
            # Whoever has filled the window must not hold back those that have nothing in it.
            window=0 if is_full else self.window,
            workers=self.workers,
            held=held,
            in_flight={pk: lane.in_flight for pk, lane in self._lanes.items()},
            satisfied={pk for pk, lane in self._lanes.items() if lane.holds_enough(now)},
            alone=alone,
            only=self.only,
        )
        shares = claim(worker, using=self.using)
        for share in shares:
            self._take_in(share)
        for lane in self._lanes.values():
            lane.is_dry = len(lane.waiting) < lane.slots
        # Where others took all places after a lease of ours was over, what waits here would wait for ever.
        self.give_back([pk for pk, lane in self._lanes.items() if not lane.slots and not lane.in_flight])
        return sum(len(share.deliveries) for share in shares)

    def _take_in(self, share: Share) -> None:
        if share.deliveries:
            self._lanes.setdefault(share.endpoint.pk, _Lane()).waiting.extend(share.deliveries)
        if lane := self._lanes.get(share.endpoint.pk):
            lane.slots, lane.refresh_at = share.slots, self.monotonic() + REFRESH_SECONDS

    def _send(self) -> int:
        chosen = self._choose()
        if not chosen:
            return 0
        try:
            self._dispatch(chosen)
        except (DatabaseError, InterfaceError):
            # What was not started yet waits again; what was, is found by its lease.
            for delivery in reversed(chosen):
                if delivery.dialled_at is None and delivery.endpoint_id in self._lanes:
                    self._lanes[delivery.endpoint_id].waiting.appendleft(delivery)
            raise
        self._forget_empty()
        return len(chosen)

    def _dispatch(self, chosen: list[Delivery]) -> None:
        endpoints = self._able_endpoints({item.endpoint_id for item in chosen})
        withdrawn = [item for item in chosen if item.endpoint_id not in endpoints]
        leases.give_back(withdrawn, using=self.using)
        able = [item for item in chosen if item.endpoint_id in endpoints]
        for delivery in able:
            delivery.endpoint = endpoints[delivery.endpoint_id]
        draw_bodies(able, using=self.using)
        # Not by primary key: what a worker claimed again after oversleeping its lease is here twice.
        started = {id(item) for item in leases.start(able, using=self.using)}
        late = [item for item in able if id(item) not in started]
        leases.give_back(late, using=self.using)
        for delivery in able:
            if id(delivery) in started:
                self._lanes[delivery.endpoint_id].in_flight += 1
                self._begin(prepare(delivery, endpoints[delivery.endpoint_id]))

    def _able_endpoints(self, ids: set[int]) -> dict[int, ClientEndpoint]:
        """Those that are still active and whose secrets can still be read, by id: a claim may be minutes old."""
        active = active_endpoints(sorted(ids), using=self.using)
        return {endpoint.pk: endpoint for endpoint in active if not endpoint.credentials_problem()}

    def _choose(self) -> list[Delivery]:
        """Round robin over the endpoints; the last quarter of the threads is for those that have none under way."""
        # Where an attempt failed, settlement decides first whether the endpoint is to be left alone.
        unsure = {item.prepared.endpoint.pk for item in self._unsettled if not _is_accepted(item.result)}
        free = self.threads - self.in_flight
        reserve = self.threads // 4
        chosen: list[Delivery] = []
        taken = {pk: lane.in_flight for pk, lane in self._lanes.items()}
        progress = True
        while free > 0 and progress:
            progress = False
            for pk, lane in self._lanes.items():
                may_go = pk not in unsure and taken[pk] < lane.slots and (free > reserve or taken[pk] == 0)
                if lane.waiting and may_go and free > 0:
                    chosen.append(lane.waiting.popleft())
                    taken[pk] += 1
                    free -= 1
                    progress = True
        return chosen

    def _begin(self, prepared: Prepared) -> None:
        if self._threadless is not None:
            begin(prepared, self._threadless, self._bring)
        else:
            self._pool.submit(self._attempt, prepared)

    def _attempt(self, prepared: Prepared) -> None:
        fault = None
        try:
            outcome = send(prepared, self.transport)
        except Exception as error:  # noqa: BLE001
            # A transport of the host's own may raise; ours does not. HTTP clients quote headers in their errors, so
            # only what kind it is and where it happened is logged, and not from where the error itself is in sight.
            outcome = Outcome(prepared, Result(error_code=ErrorCode.UNEXPECTED))
            fault = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        if fault is not None:
            logger.error("The transport raised %s on delivery %s:\n%s", fault[0], prepared.delivery.pk, fault[1])
        self._bring(outcome)

    def _bring(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)
        self.something_happened.set()

    def _collect(self) -> None:
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            self._lanes[outcome.prepared.endpoint.pk].in_flight -= 1
            if not self._unsettled:
                self._settle_by = self.monotonic() + SETTLE_SECONDS
            self._unsettled.append(outcome)

    def _settle(self) -> int:
        if not self._unsettled:
            return 0
        touched = {outcome.prepared.endpoint.pk for outcome in self._unsettled}
        finished_with = [pk for pk in touched if pk not in self._lanes or self._lanes[pk].is_empty]
        count = len(self._unsettled)
        try:
            resting = settle(
                self._unsettled, using=self.using, dice=self.dice, worker=self.name, finished_with=finished_with
            ).resting
        except (OperationalError, InterfaceError):
            # A lost connection or a deadlock: nothing was written, so all of it is settled again.
            raise
        except Exception:
            logger.exception("A batch of verdicts could not be written; they are written one by one.")
            resting = self._settle_one_by_one()
        self._unsettled, self._settle_by = [], math.inf
        self.settled += count
        # What came after them in their lines may go now.
        for pk in touched & self._lanes.keys():
            self._lanes[pk].is_dry = False
        self.give_back(resting & set(self._lanes))
        return count

    def _settle_one_by_one(self) -> set[int]:
        resting: set[int] = set()
        for outcome in self._unsettled:
            try:
                resting |= settle([outcome], using=self.using, dice=self.dice).resting
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                # Its lease runs out, and it counts as stalled.
                logger.exception("The verdict on delivery %s can't be written.", outcome.prepared.delivery.pk)
        return resting

    def _forget_empty(self) -> None:
        for pk in [pk for pk, lane in self._lanes.items() if lane.is_empty]:
            del self._lanes[pk]


def _can_wait(outcome: Outcome) -> bool:
    # Those that capture an id are settled singly in any case.
    return _is_accepted(outcome.result) and not outcome.prepared.endpoint.capture_third_party_id


def _is_accepted(result: Result) -> bool:
    return result.status_code is not None and 200 <= result.status_code < 300
