"""How long the leases of claims, of started attempts, and of a worker's slots at an endpoint last."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from live_push import conf

TIMEOUTS_PER_CLAIM: Final = 4
"""A claim's lease lasts this many total timeouts, so that a delivery can wait in the worker's window and be sent."""

WRITE_WITHIN_SECONDS: Final = 2.0
"""The time from an attempt's start until its request must be written. Each attempt's lease includes this time."""

SLOTS_LEASED_LONGER: Final = timedelta(seconds=1)
"""The lease of a worker's slots lasts this much longer than the lease of an attempt."""

START_WITHIN_SECONDS: Final = 0.5
"""The time allowed between choosing a delivery and its start. If the lease of an endpoint's slots does not last for
this time and the attempt, the lease is renewed first."""


def claim_time() -> timedelta:
    """Return how long a claim's lease lasts."""
    return timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS * TIMEOUTS_PER_CLAIM)


def attempt_time(*, patient: bool = False) -> timedelta:
    """Return how long a started attempt's lease lasts: the time to write the request, and the total timeout.

    ``patient`` is for an endpoint to which connecting takes long. It adds another total timeout to the time to write
    the request. So an attempt that can't connect reaches its timeout first and counts as failed: without ``patient``
    its start would be undone. With the default settings the lease lasts 17 seconds, or 32 with ``patient``.
    """
    total = conf.current().TOTAL_TIMEOUT_SECONDS
    return timedelta(seconds=total + WRITE_WITHIN_SECONDS + (total if patient else 0))


def slot_time(*, patient: bool = False) -> timedelta:
    """Return how long a worker's slots are leased: long enough for every attempt that starts within a second."""
    return attempt_time(patient=patient) + SLOTS_LEASED_LONGER
