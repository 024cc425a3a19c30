"""The outcomes that are not settled yet: when to settle them, and what to do while their rows are locked."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import InterfaceError, OperationalError

from live_push import conf
from live_push.outbox import give_back
from live_push.outbox.outcome import Outcome
from live_push.outbox.settle import Settlement, batches, settle
from live_push.rules import local_clock
from live_push.rules.result import is_2xx

logger = logging.getLogger("live_push.engine")

SETTLE_SECONDS: Final = 0.05
"""How long a success may wait to be settled together with others: a batch costs little more than one outcome."""

SETTLE_AT: Final = 100
"""The number of outcomes that are settled without waiting for more."""

FIRST_PAUSE_SECONDS: Final = 0.005
LONGEST_PAUSE_SECONDS: Final = 0.25
"""Bounds of the pause before the next try to settle an outcome whose rows another transaction has locked. The pause
doubles: another worker releases its locks within milliseconds, but a transaction of the host project may take a
minute."""

GIVEN_UP_AFTER_SECONDS: Final = 60.0
"""How long settling an outcome is tried. After that, the delivery is released when its lease expires."""

RENEWED_BEFORE_SECONDS: Final = 5.0
"""A lease is renewed when it ends within this time."""

MOST_POSTPONED: Final = 100
"""If this many outcomes of an endpoint wait for locks, nothing more is sent to the endpoint."""


@dataclass
class _Postponed:
    """An outcome whose rows were locked.

    ``since``, ``next_try``
        Times of the pipeline's monotonic clock.
    ``leased_until``
        The end of the delivery's lease, in seconds of the local clock.
    """

    outcome: Outcome
    since: float
    pause: float
    next_try: float
    leased_until: float


class Unsettled:
    """The outcomes of one worker that are not settled yet."""

    def __init__(self, *, using: str, worker: str, random: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self.using, self.worker, self.random, self.monotonic = using, worker, random, monotonic
        self._new: list[Outcome] = []
        # Of the new outcomes. They are kept up to date, because each turn asks for them.
        self._some_cannot_wait = False
        self._failed: set[int] = set()
        self._settle_by = math.inf
        self._postponed: dict[int, _Postponed] = {}

    @property
    def has_new(self) -> bool:
        """Return whether there are outcomes that were not tried yet."""
        return bool(self._new)

    def __iter__(self) -> Iterator[Outcome]:
        yield from (entry.outcome for entry in self._postponed.values())
        yield from self._new

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of an attempt."""
        if not self._new:
            self._settle_by = self.monotonic() + SETTLE_SECONDS
        self._new.append(outcome)
        self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        succeeded = is_2xx(outcome.result.status_code)
        # Outcomes that capture an id are settled one by one, so waiting for others would gain nothing.
        self._some_cannot_wait |= not succeeded or outcome.endpoint.capture_third_party_id
        if not succeeded:
            self._failed.add(outcome.delivery.endpoint_id)

    @property
    def has_postponed(self) -> bool:
        """Return whether there are outcomes whose rows were locked."""
        return bool(self._postponed)

    @property
    def seconds_until_due(self) -> float:
        """Return the seconds until an outcome must be settled; infinite if there is none."""
        next_try = min((entry.next_try for entry in self._postponed.values()), default=math.inf)
        return max(0.0, min(self._settle_by, next_try) - self.monotonic())

    def is_urgent(self, *, waits: bool) -> bool:
        """Return whether to settle now. ``waits`` says that more outcomes may arrive soon and could join the batch."""
        if not self._new:
            return bool(self._due())
        is_enough = len(self._new) >= SETTLE_AT or self.monotonic() >= self._settle_by
        return not waits or is_enough or self._some_cannot_wait

    def blocked(self) -> set[int]:
        """Return the endpoints to send nothing to: a failure is not settled, or too many outcomes wait for locks."""
        postponed = [entry.outcome for entry in self._postponed.values()]
        failed = {item.delivery.endpoint_id for item in postponed if not is_2xx(item.result.status_code)}
        counts = Counter(outcome.delivery.endpoint_id for outcome in postponed)
        return self._failed | failed | {pk for pk, count in counts.items() if count >= MOST_POSTPONED}

    def settle(self, drained: Callable[[Collection[int]], Collection[int]], *, at_last: bool = False) -> Settlement:
        """Settle the new outcomes, and those that are due to be tried again.

        ``drained`` returns, of the given endpoints, those for which the worker has no deliveries left. ``at_last``
        tries all outcomes once more. If an outcome still can't be settled, its delivery is released when its lease
        expires.
        """
        again = list(self._postponed.values()) if at_last else self._due()
        outcomes = [*(entry.outcome for entry in again), *self._new]
        endpoint_ids = drained({outcome.delivery.endpoint_id for outcome in outcomes})
        settlement = Settlement()
        for batch in batches(outcomes):
            written = self._write(batch, endpoint_ids)
            settlement.add(written)
            # Forget this batch before the next one is written: if the connection is lost then, this batch must not be
            # settled again.
            previous = self._forget(batch)
            for outcome in written.postponed:
                self._postpone(outcome, previous.get(id(outcome)), at_last=at_last)
        self._renew()
        return settlement

    def _forget(self, outcomes: Iterable[Outcome]) -> dict[int, _Postponed]:
        """Remove outcomes, and return the entries of those that were postponed, by the id of the outcome object."""
        keys = {id(outcome) for outcome in outcomes}
        self._new = [outcome for outcome in self._new if id(outcome) not in keys]
        self._some_cannot_wait, self._failed = False, set()
        for outcome in self._new:
            self._note(outcome)
        if not self._new:
            self._settle_by = math.inf
        return {key: self._postponed.pop(key) for key in keys & self._postponed.keys()}

    def _write(self, outcomes: Sequence[Outcome], drained: Collection[int]) -> Settlement:
        try:
            return settle(outcomes, using=self.using, random=self.random, worker=self.worker, drained=drained)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("A batch of results could not be written. They are now written one by one.")
        settlement = Settlement()
        for outcome in outcomes:
            try:
                settlement.add(settle([outcome], using=self.using, random=self.random))
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                # The lease of the delivery expires, and the delivery counts as stalled.
                logger.exception("The result of delivery %s could not be written.", outcome.delivery.pk)
        return settlement

    def _due(self) -> list[_Postponed]:
        now = self.monotonic()
        return [entry for entry in self._postponed.values() if entry.next_try <= now]

    def _postpone(self, outcome: Outcome, previous: _Postponed | None, *, at_last: bool) -> None:
        now = self.monotonic()
        entry = previous or _Postponed(outcome, now, FIRST_PAUSE_SECONDS / 2, now, _lease_end(outcome))
        if at_last or now - entry.since >= GIVEN_UP_AFTER_SECONDS:
            logger.warning(
                "The result of delivery %s was not written, because another transaction has locked the row of its "
                "member or its endpoint. The delivery is sent again after its lease has expired.",
                outcome.delivery.pk,
            )
            return
        entry.pause = min(2 * entry.pause, LONGEST_PAUSE_SECONDS)
        entry.next_try = now + entry.pause
        self._postponed[id(outcome)] = entry

    def _renew(self) -> None:
        """Renew the leases that end soon, so that no other worker releases the deliveries."""
        now = local_clock.local_now()
        ending = [entry for entry in self._postponed.values() if entry.leased_until <= now + RENEWED_BEFORE_SECONDS]
        if not ending:
            return
        give_back.renew([entry.outcome.delivery for entry in ending], using=self.using)
        for entry in ending:
            entry.leased_until = now + give_back.RENEWED_FOR.total_seconds()


def _lease_end(outcome: Outcome) -> float:
    """Return when the lease of an attempt ends, in seconds of the local clock."""
    return (outcome.delivery.not_after or 0.0) + conf.current().TOTAL_TIMEOUT_SECONDS
