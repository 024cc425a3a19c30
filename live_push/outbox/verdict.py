"""The verdict on an outcome: what follows from it, and the attempt to store.

This file is separate because ``settle`` imports ``announce`` and ``hours``, and all three need the class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from live_push.models import AttemptTrigger, Delivery
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.outbox.outcome import Outcome
from live_push.rules import retry


def attempt_trigger(delivery: Delivery | ClaimedDelivery) -> AttemptTrigger:
    """Return what caused the delivery's attempt that is under way."""
    if delivery.run_attempts > 1:
        return AttemptTrigger.RETRY
    return AttemptTrigger.REDELIVER if delivery.redelivered else AttemptTrigger.PUSH


@dataclass(slots=True)
class NewAttempt:
    """The attempt to store: columns of :class:`~live_push.models.Attempt`."""

    delivery_id: int
    number: int
    trigger: str
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error_code: str
    # What a client has answered stays out of tracebacks that show local variables.
    detail: str = field(repr=False)
    answer: bytes | None = field(repr=False)
    body_digest: str
    captured_id: str | None = field(default=None, repr=False)
    replaced_id: str | None = field(default=None, repr=False)
    capture_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, the decision that follows from it, and the attempt to store.

    ``reason`` is the delivery's new reason: it says more than the decision's if no request could be made.
    """

    outcome: Outcome
    decision: retry.Decision
    attempt: NewAttempt
    reason: str
