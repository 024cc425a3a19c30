"""The content of a delivery's page: the body, each attempt with its answer, and what happens next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.html import format_html
from django.utils.translation import gettext as _

from live_push.admin.shared import formatting
from live_push.admin.shared.differences import Difference, differences
from live_push.admin.shared.history import history_in_words
from live_push.admin.shared.request_shown import indented, outlined
from live_push.contract import encoding, headers
from live_push.exceptions import PayloadError, SecretUnreadable
from live_push.models import Attempt, AuthMethod, Delivery, DeliveryReason, DeliveryStatus, EndpointState
from live_push.models.endpoint_state import state_of
from live_push.rules.endpoint_url import MASK
from live_push.rules.redaction import CUT
from live_push.rules.translation import translated


@dataclass(frozen=True)
class ShownAttempt:
    """One attempt as the page shows it.

    ``answer``
        Empty if there was none or it is no longer stored.
    ``same_bytes``
        Whether the attempt sent exactly the body that the page shows; ``None`` if that is not known.
    """

    row: Attempt
    badge: formatting.Badge
    explanation: str
    detail: str
    headers: list[tuple[str, str]]
    answer: str
    answer_is_cut: bool
    same_bytes: bool | None


@dataclass(frozen=True)
class HistoryEntry:
    """An action that a user took on a delivery."""

    what: str
    who: str
    at: datetime


@dataclass(frozen=True)
class ShownBody:
    """The body as the endpoint's options encode it now; ``problem`` says why there is none.

    ``outlined`` shows the keys and the types of the values, never a value.
    """

    text: str = ""
    indented: str = ""
    outlined: str = ""
    digest: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """The difference from what the endpoint accepted before; ``sentence`` says why there is none."""

    changed: list[Difference]
    previous: Delivery | None = None
    sentence: str = ""


def body_of(delivery: Delivery) -> ShownBody:
    """Return the body of a delivery, or why there is none."""
    push = delivery.push
    if push.payload is None:
        if push.error:
            return ShownBody(problem=translated(push.error))
        if push.sequence is None:
            return ShownBody(problem=_("The body is built from the current state when the delivery is first sent."))
        return ShownBody(problem=_("The body is not stored any more: it was erased or pruned."))
    try:
        sent = encoding.encode_stored(push.payload, delivery.endpoint.options)
    except (PayloadError, SecretUnreadable) as error:
        return ShownBody(problem=translated(error))
    return ShownBody(sent.decode(), indented(sent), outlined(sent), hashlib.sha256(sent).hexdigest())


def attempts(delivery: Delivery, body: ShownBody) -> list[ShownAttempt]:
    """Return the attempts, oldest first."""
    return [
        ShownAttempt(
            row=attempt,
            badge=_badge(attempt),
            explanation=formatting.explained(attempt.error_code),
            detail=translated(attempt.detail),
            headers=sent_headers(delivery, attempt),
            answer=(text := bytes(attempt.answer or b"").decode("utf-8", "replace")).removesuffix(CUT),
            answer_is_cut=text.endswith(CUT),
            same_bytes=attempt.body_digest == body.digest if attempt.body_digest and body.digest else None,
        )
        for attempt in delivery.attempts.order_by("number")
    ]


def history(delivery: Delivery) -> list[HistoryEntry]:
    """Return the entries of the admin's history about a delivery, oldest first."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(Delivery), object_id=str(delivery.pk)
    )
    return [
        HistoryEntry(history_in_words(entry), entry.user.get_username(), entry.action_time)
        for entry in entries.select_related("user").order_by("action_time", "pk")
    ]


def sent_headers(delivery: Delivery, attempt: Attempt) -> list[tuple[str, str]]:
    """Return the headers of an attempt, as far as they are known. Credentials and the signature are masked."""
    sent = [
        (headers.CONTENT_TYPE, headers.JSON),
        (headers.WEBHOOK_ID, str(delivery.push.event_id)),
        (headers.WEBHOOK_TIMESTAMP, str(int(attempt.started_at.timestamp()))),
        (headers.ATTEMPT, str(attempt.number)),
    ]
    if delivery.push.sequence is not None:
        sent.append((headers.SEQUENCE, str(delivery.push.sequence)))
    if delivery.endpoint.auth_method == AuthMethod.BASIC:
        sent.append((headers.AUTHORIZATION, f"Basic {MASK}"))
    elif delivery.endpoint.auth_method == AuthMethod.API_KEY:
        sent.append((headers.API_KEY, MASK))
    if delivery.endpoint.signing_secret is not None:
        sent.append((headers.WEBHOOK_SIGNATURE, f"v1,{MASK}"))
    return sent


def _badge(attempt: Attempt) -> formatting.Badge:
    if attempt.error_code and not attempt.capture_conflict:
        return formatting.Badge(_("failed"), "bad", "bad")
    if attempt.capture_conflict:
        return formatting.Badge(_("accepted, with a conflict"), "alert", "warn")
    return formatting.Badge(_("accepted"), "ok", "ok")


def what_happens_next(delivery: Delivery, now: datetime) -> Any:
    """Return a sentence that says what happens next."""
    match delivery.status:
        case DeliveryStatus.PENDING:
            return awaited(delivery, now)
        case DeliveryStatus.SENDING:
            return _("A worker is sending it. The answer will appear here.")
        case DeliveryStatus.SUCCEEDED:
            return _("Nothing: the endpoint has accepted it.")
    if delivery.reason == DeliveryReason.UNCHANGED:
        return _("Nothing: the endpoint has this state, apart from its ignored keys. Resend to send it all the same.")
    return _(
        "Nothing happens automatically. Redeliver to send the same event again, or resend the member's current state."
    )


def awaited(delivery: Delivery, now: datetime) -> Any:
    """Return when a pending delivery is tried next, or what must happen first if its endpoint is not sent to now."""
    endpoint, due_at = delivery.endpoint, delivery.next_attempt_at
    state = state_of(endpoint, endpoint.health, now)
    if state == EndpointState.DISABLED:
        return _("when the endpoint is resumed")
    if state == EndpointState.NEEDS_CREDENTIALS:
        return _("when the endpoint has its credentials again")
    rests_until = endpoint.health.rests_until
    rests_longer = rests_until is not None and (due_at is None or due_at < rests_until)
    if state == EndpointState.RESTING and rests_longer:
        return format_html("{} {}", _("when the endpoint has rested:"), formatting.moment(rests_until, now))
    if due_at is not None and due_at <= now:
        return format_html("{} {}", _("as soon as a worker is free; due:"), formatting.moment(due_at, now))
    return formatting.moment(due_at, now)


def given_up_at(delivery: Delivery) -> datetime | None:
    """Return until when a waiting delivery is retried.

    ``None`` before the first attempt, and if the retry policy limits the number of attempts instead of the time.
    """
    window = delivery.endpoint.policy.window_seconds
    if delivery.next_attempt_at is None or delivery.run_started_at is None or window is None:
        return None
    return delivery.run_started_at + timedelta(seconds=window)


def compared(delivery: Delivery) -> Comparison:
    """Compare the body with the one that the endpoint accepted before this delivery."""
    if delivery.push.payload is None:
        return Comparison([], sentence=_("There is no body to compare."))
    earlier = Delivery.objects.filter(
        endpoint=delivery.endpoint_id,
        profile=delivery.profile_id,
        status=DeliveryStatus.SUCCEEDED,
        position__lt=delivery.position,
    )
    if delivery.profile_id is None:
        return Comparison([], sentence=_("The member was deleted."))
    previous = earlier.select_related("push").order_by("-position").first()
    if previous is None:
        return Comparison([], sentence=_("The log has no earlier state that this endpoint accepted."))
    if previous.push.payload is None:
        return Comparison([], previous, _("The body that was accepted before is not stored any more."))
    changed = differences(encoding.load(previous.push.payload), encoding.load(delivery.push.payload))
    return Comparison(changed, previous, "" if changed else _("Nothing that is sent has changed."))
