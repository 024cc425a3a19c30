"""Test pushes: the same request, transport and address guard as for a real delivery, but nothing is stored.

A test push also works for an inactive endpoint. It captures no id, does not affect the breaker, and is not counted. The
header ``live-push-test`` marks it for the client.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from live_push.contract import encoding, payload, reply, sample
from live_push.models import ClientEndpoint
from live_push.rules.redaction import clean
from live_push.rules.result import Result, is_2xx
from live_push.rules.retry import error_code_of

from .request import Certificate, ConnectionInfo, Request, Transport
from .send import make_request, secrets_of

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
"""The row of the synthetic member. No real member has its id, because ids start at 1."""


@dataclass(frozen=True)
class TestPushResult:
    """The result of a test push.

    ``error_code``
        One of :class:`~live_push.rules.result.ErrorCode`. Empty if a real push would have counted as accepted.
    ``answer``
        The beginning of the answer as text, with secrets redacted and a mark if it is cut.
    ``reply``
        The id that a real push would have stored, or why none. ``None`` if the endpoint does not synchronize ids.
    ``certificate``
        The server's certificate, or ``None`` if the attempt did not get that far or the transport does not report it.
    """

    request: Request
    result: Result
    error_code: str
    answer: str = field(repr=False)
    reply: reply.Reply | None
    certificate: Certificate | None = None


def compose(
    endpoint: ClientEndpoint,
    *,
    at: datetime,
    snapshot: Mapping[str, Any] | None = None,
    event_id: uuid.UUID | None = None,
) -> Request:
    """Return the request of a test push made at the moment ``at``.

    ``snapshot`` is the snapshot of a member; without it, the request carries the synthetic member. Raises
    :class:`~live_push.exceptions.SecretUnreadable`, :class:`~live_push.exceptions.PayloadError` or ``ValueError`` with
    the reason if no request can be made.
    """
    if snapshot is None:
        snapshot = payload.ProfilePayload().snapshot(SYNTHETIC)
    return make_request(
        endpoint,
        encoding.encode(snapshot, endpoint.options),
        event_id=str(event_id or uuid.uuid4()),
        sequence=None,
        attempt_number=1,
        at=at,
        test=True,
    )


def send_test_push(endpoint: ClientEndpoint, request: Request, transport: Transport) -> TestPushResult:
    """Send the request and evaluate the answer like that of a delivery. Don't call this inside a transaction."""
    info = ConnectionInfo()
    result = transport.send(replace(request, connection_info=info))
    answer = None
    if endpoint.capture_third_party_id and is_2xx(result.status_code):
        answer = reply.read_third_party_id(result.body, complete=result.body_complete)
    return TestPushResult(
        request=request,
        result=result,
        error_code=str(error_code_of(result, capture_failed=answer is not None and answer.third_party_id is None)),
        answer=clean(result.body, limit=ANSWER_SHOWN_CHARACTERS, secrets=secrets_of(request)),
        reply=answer,
        certificate=info.certificate,
    )
