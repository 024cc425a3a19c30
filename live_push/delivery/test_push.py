"""A test push: the same request, transport and address guard as a real delivery, and no trace of it.

It works while the endpoint is off, captures nothing, trips no breaker and counts nowhere. The header ``live-push-test``
tells the client.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from django.db import router

from live_push.contract import payload, reply, sample
from live_push.exceptions import PayloadError
from live_push.models import ClientEndpoint, UserProfile
from live_push.outbox import snapshots

from .deliver import make_request, secrets_of
from .redaction import clean
from .request import Certificate, Request, Transport, Witness
from .result import Result
from .retry import error_code_of

ANSWER_SHOWN_CHARACTERS: Final = 4096

SYNTHETIC: Final[dict[str, Any]] = {
    **sample.ROW,
    "id": 0,
    "user_name": "live-push-test",
    "email_address": "live-push-test@example.com",
    "first_name": "Test",
    "last_name": "Member",
    "third_party_id": None,
}
"""The row of a member who does not exist: ids begin at 1."""


@dataclass(frozen=True)
class Answered:
    """What a test push brought back.

    ``error_code``
        One of :class:`~live_push.delivery.result.ErrorCode`; empty where a real push would have been accepted.
    ``answer``
        The answer's head as text: cleaned, without our secrets, marked where cut.
    ``reply``
        Where the endpoint synchronizes ids: what would have been stored, or why nothing.
    ``certificate``
        What the endpoint proved itself with; ``None`` where that was not reached or is not known.
    """

    request: Request
    result: Result
    error_code: str
    answer: str = field(repr=False)
    reply: reply.Reply | None
    certificate: Certificate | None = None


def compose(
    endpoint: ClientEndpoint, *, at: datetime, profile: UserProfile | None = None, event_id: uuid.UUID | None = None
) -> Request:
    """The request of a test push made at that moment: for the synthetic profile, or for a member's current state.

    Raises :class:`~live_push.exceptions.SecretUnreadable`, :class:`~live_push.exceptions.PayloadError` and
    ``ValueError`` where no request can be made; the sentence says why.
    """
    snapshot = payload.ProfilePayload().snapshot(SYNTHETIC) if profile is None else _current(profile)
    return make_request(
        endpoint,
        payload.encode(snapshot, endpoint.options),
        event_id=str(event_id or uuid.uuid4()),
        sequence=None,
        attempt_number=1,
        at=at,
        test=True,
    )


def send(endpoint: ClientEndpoint, request: Request, transport: Transport) -> Answered:
    """Send it and judge the answer like a delivery's. No database here; hold no transaction either."""
    witness = Witness()
    result = transport.send(replace(request, witness=witness))
    answer = None
    if endpoint.capture_third_party_id and result.status_code is not None and 200 <= result.status_code < 300:
        answer = reply.read_third_party_id(result.body, complete=result.body_complete)
    return Answered(
        request=request,
        result=result,
        error_code=str(error_code_of(result, capture_failed=answer is not None and answer.third_party_id is None)),
        answer=clean(result.body, limit=ANSWER_SHOWN_CHARACTERS, secrets=secrets_of(request)),
        reply=answer,
        certificate=witness.certificate,
    )


def _current(profile: UserProfile) -> dict[str, Any]:
    using = profile._state.db or router.db_for_read(UserProfile)
    row = snapshots.read([profile.pk], using=using)[profile.pk]
    snapshot = snapshots.build(row, using=using)
    if snapshot.payload is None:
        raise PayloadError(snapshot.error)
    return payload.load(snapshot.payload)
