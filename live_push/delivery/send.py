"""Prepare the requests of started deliveries, send them, and return the outcomes for the outbox to settle.

Nothing here uses the database, so no transaction or database connection is held while a request is sent.
"""

from __future__ import annotations

import hashlib
import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus

from live_push.contract import encoding, headers
from live_push.exceptions import PayloadError, SecretUnreadable
from live_push.models import ClientEndpoint
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.outbox.outcome import Outcome
from live_push.rules import local_clock
from live_push.rules.masking import Masked
from live_push.rules.messages import Message, message_of
from live_push.rules.redaction import CUT, clean_bytes
from live_push.rules.result import ErrorCode, Result
from live_push.secrets.keyring import UnreadableBytes

from .request import Request, ThreadlessTransport, Transport

logger = logging.getLogger("live_push.delivery")

ANSWER_KEPT_BYTES: Final = 8 * 1024
"""The limit for the part of an answer that is kept with its attempt."""

SHORTEST_TOKEN: Final = 8
"""Minimum length of a query value to redact. Shorter values are probably ordinary words, and redacting them would make
the answer unreadable."""


@dataclass(frozen=True)
class Prepared:
    """A delivery with its request, or with the result that says why no request could be made."""

    delivery: ClaimedDelivery
    endpoint: ClientEndpoint
    request: Request | None = field(default=None, repr=False)
    body_digest: str = ""
    refused: Result | None = None


def prepare(delivery: ClaimedDelivery, endpoint: ClientEndpoint) -> Prepared:
    """Make the request of a started delivery. Never raises: an error becomes the result of a failed attempt."""
    push = delivery.push
    if push.payload is None:
        return _refused(delivery, endpoint, ErrorCode.PAYLOAD_FAILED, push.error or Message("body_missing"))
    if isinstance(push.payload, UnreadableBytes):
        # Not PAYLOAD_FAILED: the settings lack the key. The operator may add it again before the last retry.
        return _refused(delivery, endpoint, ErrorCode.MISCONFIGURED, UnreadableBytes.WHY)
    try:
        body = encoding.encode_stored(push.payload, endpoint.options)
        request = make_request(
            endpoint,
            body,
            event_id=str(push.event_id),
            sequence=push.sequence,
            attempt_number=delivery.attempts_made,
            at=delivery.dialled_at or datetime.now(UTC),
            not_after=delivery.not_after,
        )
    except SecretUnreadable as error:
        return _refused(delivery, endpoint, ErrorCode.NEEDS_CREDENTIALS, message_of(error))
    except PayloadError as error:
        return _refused(delivery, endpoint, ErrorCode.PAYLOAD_FAILED, message_of(error))
    except ValueError as error:
        # The row is older than a rule, or a script saved it without validation. The message is ours and has no secret.
        return _refused(delivery, endpoint, ErrorCode.MISCONFIGURED, message_of(error))
    except Exception as error:  # noqa: BLE001
        # The snapshot was made by a serializer of the host project or by a script. The text of the error may contain
        # personal data, so only its class and the traceback's lines are logged.
        class_name, lines = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        logger.error("The request of delivery %s can't be made (%s):\n%s", delivery.pk, class_name, lines)  # noqa: TRY400
        return _refused(delivery, endpoint, ErrorCode.UNEXPECTED, Message("request_failed"))
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
    not_after: float | None = None,
) -> Request:
    """Return the request of one attempt. The bytes that are signed are the bytes that are sent.

    Raises :class:`~live_push.exceptions.SecretUnreadable` if a secret of the endpoint can't be decrypted, and
    ``ValueError`` if a header or the authentication is not valid.
    """
    return Request(
        url=endpoint.url,
        headers=headers.build_headers(
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
        not_after=not_after,
    )


def secrets_of(request: Request) -> tuple[str, ...]:
    """Return the secrets to redact in the answer to a request: the credentials, and the values of the URL's query.

    Some clients have a token in the query, and many servers quote the URL in an error page.
    """
    parameters = [parameter.partition("=") for parameter in re.split("[&;]", request.url.partition("?")[2])]
    values = [value if equals else name for name, equals, value in parameters]
    spellings = {spelling for value in values for spelling in (value, unquote_plus(value))}
    tokens = sorted(Masked(spelling) for spelling in spellings if len(spelling) >= SHORTEST_TOKEN)
    return (*headers.credentials_in(request.headers), *tokens)


def send(prepared: Prepared, transport: Transport) -> Outcome:
    """Make the attempt and return its outcome."""
    if prepared.request is None:
        return _unsent(prepared)
    if is_too_late(prepared.request):
        return too_late(prepared)
    return outcome_of(prepared, transport.send(prepared.request))


def begin(prepared: Prepared, transport: ThreadlessTransport, done: Callable[[Outcome], None]) -> None:
    """Start the attempt and return at once. ``done`` is called once with the outcome, in any thread."""
    if prepared.request is None:
        done(_unsent(prepared))
    elif is_too_late(prepared.request):
        done(too_late(prepared))
    else:
        transport.begin(prepared.request, lambda result: done(outcome_of(prepared, result)))


def is_too_late(request: Request) -> bool:
    """Return whether the deadline of the start has passed.

    Our transports check it, too. A transport of the host project may not.
    """
    return request.not_after is not None and local_clock.local_now() >= request.not_after


def too_late(prepared: Prepared) -> Outcome:
    """Return the outcome of an attempt that sent nothing before its deadline. The engine then undoes the start."""
    return outcome_of(prepared, Result(error_code=ErrorCode.TOO_LATE))


def _unsent(prepared: Prepared) -> Outcome:
    return outcome_of(prepared, prepared.refused or Result(error_code=ErrorCode.UNEXPECTED))


def outcome_of(prepared: Prepared, result: Result) -> Outcome:
    """Return the outcome of an attempt, with the part of the answer to keep. Never raises."""
    request = prepared.request
    try:
        answer = _kept_answer(request, result)
    except Exception as error:  # noqa: BLE001
        # Without an outcome, the attempt would occupy its slot for ever. Only the error's class is logged, because its
        # text may quote secrets.
        answer, class_name = None, type(error).__name__
    else:
        class_name = ""
    if class_name:
        logger.error("The answer to delivery %s can't be kept (%s).", prepared.delivery.pk, class_name)
    return Outcome(
        prepared.delivery,
        prepared.endpoint,
        result,
        answer=answer,
        body_bytes=len(request.body) if request else 0,
        body_digest=prepared.body_digest,
    )


def _kept_answer(request: Request | None, result: Result) -> bytes | None:
    if result.status_code is None:
        return None
    # Take the secrets from the request, because the stored ones may have changed or become unreadable.
    secrets = secrets_of(request) if request else ()
    # An answer shorter than the limit is also cut if the connection was lost.
    cut = b"" if result.body_complete or not result.body else CUT.encode()
    kept = clean_bytes(result.body, limit=ANSWER_KEPT_BYTES - len(cut), secrets=secrets)
    return kept if kept.endswith(cut) else kept + cut


def _refused(delivery: ClaimedDelivery, endpoint: ClientEndpoint, code: ErrorCode, detail: str) -> Prepared:
    return Prepared(delivery, endpoint, refused=Result(error_code=code, detail=detail))
