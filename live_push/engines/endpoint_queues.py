"""The claimed deliveries that a pipeline holds for each endpoint, and the choice of which to send next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import ClassVar

from live_push.outbox.claimed_delivery import ClaimedDelivery


class EndpointQueue:
    """The claimed deliveries of one endpoint that wait to be sent.

    ``slots``
        The number of attempts that this worker may have in flight to the endpoint.
    ``slots_until``
        When the lease of the slots ends, in seconds of the local clock. Attempts must end before, because another
        worker may use the slots from then on.
    ``is_exhausted``
        Whether the last claim found too few deliveries to fill the slots. Then no more are due for now, and claiming
        again at every turn would delay the other endpoints.
    """

    def __init__(self) -> None:
        self.waiting: deque[ClaimedDelivery] = deque()
        self.slots = 0
        self.in_flight = 0
        self.slots_until = 0.0
        self.is_exhausted = False

    @property
    def is_empty(self) -> bool:
        """Return whether no delivery waits and none is in flight."""
        return not self.waiting and not self.in_flight

    @property
    def can_start(self) -> bool:
        """Return whether a delivery waits and a slot is free."""
        return bool(self.waiting) and self.in_flight < self.slots

    @property
    def fills_slots(self) -> bool:
        """Return whether enough deliveries wait to fill all slots."""
        return len(self.waiting) >= self.slots > 0


class StartBatch:
    """Decides whether to wait for more free slots, so that one statement starts several attempts.

    ``wait_until``
        The time of the monotonic clock until which to wait; infinite if there is nothing to wait for.
    ``missing``
        The number of outcomes that end the wait before; 1 if there is nothing to wait for.
    """

    MANY_SLOTS: ClassVar[int] = 8
    SECONDS: ClassVar[float] = 0.003

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.wait_until, self.missing = math.inf, 1

    def waits(self, queues: Iterable[EndpointQueue]) -> bool:
        """Return whether to wait: there are many slots, and fewer than half of them are free."""
        can_start = [queue for queue in queues if queue.can_start]
        free = sum(min(len(queue.waiting), queue.slots - queue.in_flight) for queue in can_start)
        slots, now = sum(queue.slots for queue in can_start), self.monotonic()
        if slots < self.MANY_SLOTS or 2 * free >= slots or now >= self.wait_until:
            self.wait_until, self.missing = math.inf, 1
            return False
        self.wait_until, self.missing = min(self.wait_until, now + self.SECONDS), math.ceil(slots / 2) - free
        return True


def choose(
    queues: Mapping[int, EndpointQueue], endpoint_ids: Collection[int], *, free: int, reserve: int
) -> list[ClaimedDelivery]:
    """Take up to ``free`` deliveries out of the queues of these endpoints, round robin, and return them.

    ``free`` is the number of free threads. The last ``reserve`` of them are kept for endpoints that have no attempt in
    flight, so that one slow endpoint can't occupy all threads.
    """
    chosen: list[ClaimedDelivery] = []
    taken = {pk: queue.in_flight for pk, queue in queues.items()}
    progress = True
    while free > 0 and progress:
        progress = False
        for pk, queue in queues.items():
            may_go = pk in endpoint_ids and taken[pk] < queue.slots and (free > reserve or taken[pk] == 0)
            if queue.waiting and may_go and free > 0:
                chosen.append(queue.waiting.popleft())
                taken[pk] += 1
                free -= 1
                progress = True
    return chosen
