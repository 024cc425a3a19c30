"""A delivery as the worker that claimed it knows it.

A worker handles thousands of deliveries per second, and creating a model instance takes ten times as long as reading
its row. So it keeps the columns that it needs in these small classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from live_push.models import ClientEndpoint, Push
from live_push.rules.messages import Message


@dataclass(slots=True)
class ClaimedPush:
    """The push of a claimed delivery: columns of :class:`~live_push.models.Push`."""

    pk: int
    event_id: UUID
    profile_id: int | None
    sequence: int | None
    payload: bytes | None = field(repr=False)
    digest: str = ""
    error: str | Message = ""

    @classmethod
    def of(cls, push: Push) -> ClaimedPush:
        """Return the columns of a push that was read as a model instance."""
        return cls(push.pk, push.event_id, push.profile_id, push.sequence, push.payload, push.digest, push.error)


@dataclass(slots=True, eq=False)
class ClaimedDelivery:
    """A claimed delivery: columns of :class:`~live_push.models.Delivery`, and what only this process knows.

    Two of them are equal only if they are the same object: a worker whose lease expired may claim a delivery again.

    ``dialled_at``, ``leased_until``
        Set by the start of the attempt.
    ``not_after``
        The local time after which the request must not be written, see :mod:`live_push.rules.local_clock`. Set by the
        start of the attempt.
    """

    pk: int
    endpoint_id: int
    profile_id: int | None
    position: int
    attempts_made: int
    run_attempts: int
    run_started_at: datetime | None
    redelivered: bool
    lease_token: UUID
    endpoint: ClientEndpoint
    push: ClaimedPush
    dialled_at: datetime | None = None
    leased_until: datetime | None = None
    not_after: float | None = None
