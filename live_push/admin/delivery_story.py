"""A delivery as a story: what was sent, to whom, what came back each time, and what happens next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.html import format_html
from django.utils.translation import gettext as _

from live_push.contract import headers, payload
from live_push.delivery.redaction import CUT
from live_push.exceptions import PayloadError, SecretUnreadable
from live_push.models import Attempt, AuthMethod, Delivery, DeliveryStatus

from . import words
from .differences import Difference, differences
from .request_shown import MASK, indented, outlined
from .sentences import translated


@dataclass(frozen=True)
class Chapter:
    """One attempt as the page shows it; ``answer`` is empty where there was none or it is no longer kept."""

    attempt: Attempt
    badge: words.Badge
    explanation: str
    detail: str
    headers: list[tuple[str, str]]
    answer: str
    answer_is_cut: bool
    same_bytes: bool | None


@dataclass(frozen=True)
class Intervention:
    """What a person did to a delivery."""

    what: str
    who: str
    at: datetime


@dataclass(frozen=True)
class Body:
    """What was sent: the body as the endpoint's options make it now, or the sentence why there is none."""

    text: str = ""
    indented: str = ""
    outlined: str = ""
    digest: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """Against what the endpoint accepted before; ``sentence`` says why there is nothing to compare with."""

    changed: list[Difference]
    previous: Delivery | None = None
    sentence: str = ""


def body_of(delivery: Delivery) -> Body:
    """The body of a delivery, or why there is none."""
    push = delivery.push
    if push.payload is None:
        if push.error:
            return Body(problem=translated(push.error))
        if push.sequence is None:
            return Body(problem=_("The current state is drawn when this is first sent."))
        return Body(problem=_("The body is no longer kept: it was erased or pruned."))
    try:
        sent = payload.body_of(push.payload, delivery.endpoint.options)
    except (PayloadError, SecretUnreadable) as error:
        return Body(problem=translated(error))
    return Body(sent.decode(), indented(sent), outlined(sent), hashlib.sha256(sent).hexdigest())


def chapters(delivery: Delivery, body: Body) -> list[Chapter]:
    """The attempts, oldest first."""
    return [
        Chapter(
            attempt=attempt,
            badge=_badge(attempt),
            explanation=words.explained(attempt.error_code),
            detail=translated(attempt.detail),
            headers=sent_headers(delivery, attempt),
            answer=(text := bytes(attempt.answer or b"").decode("utf-8", "replace")).removesuffix(CUT),
            answer_is_cut=text.endswith(CUT),
            same_bytes=attempt.body_digest == body.digest if attempt.body_digest and body.digest else None,
        )
        for attempt in delivery.attempts.order_by("number")
    ]


def interventions(delivery: Delivery) -> list[Intervention]:
    """What the admin's history tells of a delivery, oldest first."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(Delivery), object_id=str(delivery.pk)
    )
    return [
        Intervention(translated(entry.get_change_message()), entry.user.get_username(), entry.action_time)
        for entry in entries.select_related("user").order_by("action_time", "pk")
    ]


def sent_headers(delivery: Delivery, attempt: Attempt) -> list[tuple[str, str]]:
    """The headers of an attempt, as far as they are known: of credentials and signature only that they were there."""
    shown = [
        (headers.CONTENT_TYPE, headers.JSON),
        (headers.WEBHOOK_ID, str(delivery.push.event_id)),
        (headers.WEBHOOK_TIMESTAMP, str(int(attempt.started_at.timestamp()))),
        (headers.ATTEMPT, str(attempt.number)),
    ]
    if delivery.push.sequence is not None:
        shown.append((headers.SEQUENCE, str(delivery.push.sequence)))
    if delivery.endpoint.auth_method == AuthMethod.BASIC:
        shown.append((headers.AUTHORIZATION, f"Basic {MASK}"))
    elif delivery.endpoint.auth_method == AuthMethod.API_KEY:
        shown.append((headers.API_KEY, MASK))
    if delivery.endpoint.signing_secret is not None:
        shown.append((headers.WEBHOOK_SIGNATURE, f"v1,{MASK}"))
    return shown


def _badge(attempt: Attempt) -> words.Badge:
    if attempt.error_code and not attempt.capture_conflict:
        return words.Badge(_("failed"), "bad", "bad")
    if attempt.capture_conflict:
        return words.Badge(_("accepted, with a conflict"), "alert", "warn")
    return words.Badge(_("accepted"), "ok", "ok")


def next_step(delivery: Delivery, now: datetime) -> Any:
    """What happens next, in a sentence."""
    match delivery.status:
        case DeliveryStatus.PENDING:
            return awaited(delivery, now)
        case DeliveryStatus.SENDING:
            return _("A worker has it; what comes back is written down here.")
        case DeliveryStatus.SUCCEEDED:
            return _("Nothing: the endpoint has it.")
    return _("Nothing by itself. Redeliver sends the same event again, resend the member's current state.")


def awaited(delivery: Delivery, now: datetime) -> Any:
    """When a pending delivery is tried next, or what must happen before: its endpoint may keep it beyond its time."""
    endpoint, due_at = delivery.endpoint, delivery.next_attempt_at
    if not endpoint.is_active:
        return _("when the endpoint is resumed")
    if endpoint.health.needs_credentials:
        return _("when the endpoint has its credentials again")
    rests_until = endpoint.health.rests_until
    if rests_until is not None and rests_until > now and (due_at is None or due_at < rests_until):
        return format_html("{} {}", _("when the endpoint has rested:"), words.moment(rests_until, now))
    if due_at is not None and due_at <= now:
        return format_html("{} {}", _("as soon as a worker is free; due:"), words.moment(due_at, now))
    return words.moment(due_at, now)


def given_up_at(delivery: Delivery) -> datetime | None:
    """Until when a waiting delivery is tried; ``None`` where that is not known yet, or is no date but a number."""
    window = delivery.endpoint.policy.window_seconds
    if delivery.next_attempt_at is None or delivery.run_started_at is None or window is None:
        return None
    return delivery.run_started_at + timedelta(seconds=window)


def compared(delivery: Delivery) -> Comparison:
    """What changed since the state that the endpoint accepted before this one."""
    if delivery.push.payload is None:
        return Comparison([], sentence=_("The body is not there to be compared."))
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
        return Comparison([], sentence=_("No earlier state is in the log that this endpoint accepted."))
    if previous.push.payload is None:
        return Comparison([], previous, _("The body that was accepted before is no longer kept."))
    changed = differences(payload.load(previous.push.payload), payload.load(delivery.push.payload))
    return Comparison(changed, previous, "" if changed else _("Nothing that is sent has changed."))
