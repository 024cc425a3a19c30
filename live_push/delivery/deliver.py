"""The recipe for claimed deliveries: make each one's request, send it, and hand what came back to settlement.

Preparing and settling touch the database; sending does not, so that nobody holds a transaction, or even a connection,
while talking to the network.
"""

from __future__ import annotations

import hashlib
import logging
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus

from live_push.concealed import Masked
from live_push.contract import headers, payload
from live_push.exceptions import PayloadError, SecretUnreadable
from live_push.fields import UnreadableBytes
from live_push.models import ClientEndpoint, Delivery, Push
from live_push.outbox import resend

from .request import Request, ThreadlessTransport, Transport
from .result import ErrorCode, Result

logger = logging.getLogger("live_push.delivery")

SHORTEST_TOKEN: Final = 8
"""Of a value in a URL's query. What is shorter is a word: to black it out in every answer would hide what it says."""


@dataclass(frozen=True)
class Prepared:
    """A delivery with its request; or, where none could be made, with the result that says why."""

    delivery: Delivery
    endpoint: ClientEndpoint
    request: Request | None = field(default=None, repr=False)
    body_digest: str = ""
    refused: Result | None = None


@dataclass(frozen=True)
class Outcome:
    """What one attempt of a delivery brought back."""

    prepared: Prepared
    result: Result


def draw_bodies(deliveries: Sequence[Delivery], *, using: str) -> None:
    """Give the body-less pushes among claimed deliveries their sequence and body."""
    waiting = [delivery.push_id for delivery in deliveries if delivery.push.sequence is None]
    if waiting:
        resend.draw(waiting, using=using)
        pushes = Push.objects.using(using).in_bulk(waiting)
        for delivery in deliveries:
            delivery.push = pushes.get(delivery.push_id, delivery.push)
            delivery.position = delivery.push.sequence or delivery.position


def prepare(delivery: Delivery, endpoint: ClientEndpoint) -> Prepared:
    """Make the request of a started delivery; never raises: what keeps us from sending is a failed attempt."""
    push = delivery.push
    if push.payload is None:
        sentence = push.error or "The push has no body any more."
        return _refused(delivery, endpoint, ErrorCode.PAYLOAD_FAILED, sentence)
    if isinstance(push.payload, UnreadableBytes):
        # No payload's fault: the key may come back while the schedule lasts.
        return _refused(delivery, endpoint, ErrorCode.MISCONFIGURED, UnreadableBytes.WHY)
    try:
        body = payload.body_of(push.payload, endpoint.options)
        request = make_request(
            endpoint,
            body,
            event_id=str(push.event_id),
            sequence=push.sequence,
            attempt_number=delivery.attempts_made,
            at=delivery.dialled_at or push.created_at,
        )
    except SecretUnreadable as error:
        return _refused(delivery, endpoint, ErrorCode.NEEDS_CREDENTIALS, str(error))
    except PayloadError as error:
        return _refused(delivery, endpoint, ErrorCode.PAYLOAD_FAILED, str(error))
    except ValueError as error:
        # Stored before the rule was, or by a script that skipped validation; our own sentence, which names no secret.
        return _refused(delivery, endpoint, ErrorCode.MISCONFIGURED, str(error))
    except Exception as error:  # noqa: BLE001
        # A stored snapshot that a host's own serializer or a script made. What the error says may be personal data.
        kind, place = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        logger.error("The request of delivery %s can't be made (%s):\n%s", delivery.pk, kind, place)  # noqa: TRY400
        return _refused(delivery, endpoint, ErrorCode.UNEXPECTED, "The request could not be made.")
    return Prepared(delivery, endpoint, request, hashlib.sha256(body).hexdigest())


def make_request(
    endpoint: ClientEndpoint,
    body: bytes,
    *,
    event_id: str,
    sequence: int | None,
    attempt_number: int,
    at: datetime,
    test: bool = False,
) -> Request:
    """One attempt's request: the very bytes are signed and sent.

    Raises :class:`~live_push.exceptions.SecretUnreadable` and ``ValueError``.
    """
    return Request(
        url=endpoint.url,
        headers=headers.build(
            event_id=event_id,
            sequence=sequence,
            attempt_number=attempt_number,
            timestamp=int(at.timestamp()),
            body=body,
            auth=endpoint.auth(),
            signing_secrets=endpoint.signing_secrets(at),
            extra_headers=endpoint.extra_headers,
            test=test,
        ),
        body=body,
    )


def secrets_of(request: Request) -> tuple[str, ...]:
    """What its answer may repeat and nobody may read: the credentials, and values of the URL's query.

    Many a server quotes the address of what it did not find, and some clients have a token there.
    """
    parameters = [one.partition("=") for one in re.split("[&;]", request.url.partition("?")[2])]
    values = [value if equals else name for name, equals, value in parameters]
    spellings = {spelling for value in values for spelling in (value, unquote_plus(value))}
    tokens = sorted(Masked(spelling) for spelling in spellings if len(spelling) >= SHORTEST_TOKEN)
    return (*headers.credentials_in(request.headers), *tokens)


def send(prepared: Prepared, transport: Transport) -> Outcome:
    """Make the attempt. No database here."""
    if prepared.request is None:
        return _unsent(prepared)
    return Outcome(prepared, transport.send(prepared.request))


def begin(prepared: Prepared, transport: ThreadlessTransport, done: Callable[[Outcome], None]) -> None:
    """Begin the attempt and return at once; ``done`` is called once, in whatever thread. No database here."""
    if prepared.request is None:
        done(_unsent(prepared))
    else:
        transport.begin(prepared.request, lambda result: done(Outcome(prepared, result)))


def _unsent(prepared: Prepared) -> Outcome:
    return Outcome(prepared, prepared.refused or Result(error_code=ErrorCode.UNEXPECTED))


def _refused(delivery: Delivery, endpoint: ClientEndpoint, code: ErrorCode, sentence: str) -> Prepared:
    return Prepared(delivery, endpoint, refused=Result(error_code=code, detail=sentence))
