"""Announce outcomes after their commit: send signals, log, and mail to the endpoint's contact.

An endpoint has an incident when it fails, is disabled, recovers or needs credentials. Each incident is announced once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from django.core.mail import send_mail
from django.db import Error
from django.dispatch import Signal
from django.utils.translation import gettext as _

from live_push import signals
from live_push.models import Attempt, ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth
from live_push.models.clock import db_now
from live_push.models.transactions import after_commit, in_transaction, lock_free
from live_push.rules import failing
from live_push.rules.messages import Message
from live_push.rules.translation import translated

from .claimed_delivery import ClaimedDelivery
from .verdict import Verdict

logger = logging.getLogger("live_push.delivery")

GONE: Final = Message("disabled_gone")
NO_SUCCESS: Final = Message("disabled_no_success")


def announce(verdicts: Sequence[Verdict], *, unwell: Collection[int], disabled: Collection[int], using: str) -> None:
    """Announce what a settlement wrote. An exception of a receiver or of the mail server is logged and undoes nothing.

    ``unwell`` are the endpoints that are failing, and those that have recovered since they were announced as failing.
    ``disabled`` are the endpoints that were disabled because they answered 410 Gone.
    """
    attempts = _read_attempts(verdicts, using=using)
    for verdict in verdicts:
        _announce_delivery(verdict, attempts.get((verdict.attempt.delivery_id, verdict.attempt.number)))
    for endpoint in ClientEndpoint.objects.using(using).filter(pk__in=disabled) if disabled else ():
        _announce_disabled(endpoint, GONE)
    for pk in sorted({*unwell} - {*disabled}):
        _announce_endpoint(pk, using=using)


def announce_failed_after_commit(*, using: str, **lookups: Collection[object]) -> None:
    """Announce deliveries that fail outside of a settlement, after the transaction in which they fail is committed.

    ``lookups`` select the deliveries, such as ``pk__in=[1, 2]``.
    """
    after_commit(_announce_failed, lookups, using, using=using)


def _announce_failed(lookups: dict[str, Collection[object]], using: str) -> None:
    # A delivery that failed may have been replaced or reopened later in the same transaction.
    for delivery in Delivery.objects.using(using).filter(status=DeliveryStatus.FAILED, **lookups).order_by("pk"):
        _log_failure(delivery, delivery.reason)
        last = delivery.attempts.order_by("number").last()
        _send(signals.delivery_failed, delivery=delivery, attempt=last)


def _log_failure(delivery: Delivery | ClaimedDelivery, reason: str) -> None:
    logger.error("Delivery %s to endpoint %s failed for good: %s.", delivery.pk, delivery.endpoint_id, reason)


def _announce_delivery(verdict: Verdict, attempt: Attempt | None) -> None:
    """Announce a delivery that has ended. ``attempt`` is its last attempt, if somebody listens."""
    delivery, new = verdict.outcome.delivery, verdict.attempt
    if verdict.decision.status == "succeeded":
        if attempt is not None:
            _send(signals.delivery_succeeded, delivery=attempt.delivery, attempt=attempt)
        if new.captured_id is not None and not new.capture_conflict:
            _send(
                signals.third_party_id_captured,
                profile_id=delivery.profile_id,
                endpoint=verdict.outcome.endpoint,
                old=new.replaced_id,
                new=new.captured_id,
            )
    elif verdict.decision.status == "failed":
        _log_failure(delivery, verdict.reason or verdict.decision.error_code)
        if attempt is not None:
            _send(signals.delivery_failed, delivery=attempt.delivery, attempt=attempt)


def _read_attempts(verdicts: Sequence[Verdict], *, using: str) -> dict[tuple[int, int], Attempt]:
    """Read the attempts for whose signal somebody listens, by the delivery's id and the attempt's number."""
    signal_of = {"succeeded": signals.delivery_succeeded, "failed": signals.delivery_failed}
    listening = {status for status, signal in signal_of.items() if signal.has_listeners(ClientEndpoint)}
    ids = {verdict.attempt.delivery_id for verdict in verdicts if verdict.decision.status in listening}
    if not ids:
        return {}
    try:
        attempts = Attempt.objects.using(using).filter(delivery__in=ids)
        read = list(attempts.select_related("delivery__endpoint", "delivery__push"))
    except Error:
        # What was settled must not be settled again.
        logger.exception("The signals of the deliveries %s were not sent.", ", ".join(map(str, sorted(ids))))
        return {}
    return {(attempt.delivery_id, attempt.number): attempt for attempt in read}


def _announce_endpoint(endpoint_id: int, *, using: str) -> None:
    health = EndpointHealth.objects.using(using).select_related("endpoint").filter(pk=endpoint_id).first()
    if health is None:
        return
    endpoint, now = health.endpoint, db_now(using)
    step = failing.next_step(health.failing, now)
    if step == "announce_recovery" and _claim_notice(health, None, using=using):
        logger.warning("Endpoint %s has recovered.", endpoint.pk)
        _send(signals.endpoint_recovered, endpoint=endpoint)
        _mail(endpoint, _("has recovered"), _("Pushes are accepted again."))
    elif step == "disable" and in_transaction(partial(_switch_off_if_free, endpoint.pk, using=using), using=using):
        _announce_disabled(endpoint, NO_SUCCESS)
    elif step == "warn" and _claim_notice(health, now, using=using):
        logger.error("Endpoint %s has been failing since %s.", endpoint.pk, health.failing_since)
        _send(signals.endpoint_failing, endpoint=endpoint, since=health.failing_since)
        _mail(endpoint, _("is failing"), _("No push was accepted for six hours. Every attempt is in the delivery log."))


def announce_credentials(endpoint_id: int, problem: str, *, using: str) -> None:
    """Announce that an endpoint's secrets can't be read, or, if ``problem`` is empty, that they can be read again."""
    endpoint = ClientEndpoint.objects.using(using).filter(pk=endpoint_id).first()
    if endpoint is None:
        return
    if problem:
        logger.error("Endpoint %s needs credentials; its deliveries wait. %s", endpoint.pk, problem)
        _send(signals.endpoint_needs_credentials, endpoint=endpoint, problem=problem)
        # The mail does not say why: the contact may be outside the company that runs this project. The log says it.
        _mail(
            endpoint,
            _("needs credentials"),
            _("They can't be used. What waits is kept until new ones are entered."),
        )
    else:
        logger.warning("Endpoint %s has its credentials again.", endpoint.pk)
        _send(signals.endpoint_has_credentials, endpoint=endpoint)
        _mail(endpoint, _("has its credentials again"), _("What waited is sent."))


def _claim_notice(health: EndpointHealth, noticed_at: object, *, using: str) -> bool:
    """Return true for exactly one worker, so that each incident is announced once.

    If another transaction has locked the row, return false: the endpoint's next attempt leads to the announcement.
    """
    rows = EndpointHealth.objects.using(using).filter(failing_noticed_at=health.failing_noticed_at)

    def mark() -> bool:
        return bool(lock_free(rows, [health.pk]) and rows.filter(pk=health.pk).update(failing_noticed_at=noticed_at))

    return in_transaction(mark, using=using)


def switch_off(endpoint_id: int, reason: Message, *, using: str) -> bool:
    """Disable an endpoint in the caller's transaction. Return false if it was disabled already."""
    active = ClientEndpoint.objects.using(using).filter(pk=endpoint_id, is_active=True)
    return bool(active.update(is_active=False, disabled_reason=reason))


def _switch_off_if_free(endpoint_id: int, *, using: str) -> bool:
    # Both rows are written. If another transaction has locked one, the endpoint is disabled after its next failure.
    for rows in (ClientEndpoint.objects.using(using), EndpointHealth.objects.using(using)):
        if not lock_free(rows, [endpoint_id]):
            return False
    return switch_off(endpoint_id, NO_SUCCESS, using=using)


def _announce_disabled(endpoint: ClientEndpoint, reason: Message) -> None:
    logger.error("Endpoint %s was disabled: %s", endpoint.pk, reason)
    _send(signals.endpoint_disabled, endpoint=endpoint, reason=reason)
    _mail(
        endpoint,
        _("was disabled"),
        translated(reason)
        + " "
        + _("What waits for it is kept. Enable it again to send the current state of every member."),
    )


def _send(signal: Signal, **arguments: object) -> None:
    for receiver, answer in signal.send_robust(sender=ClientEndpoint, **arguments):
        if isinstance(answer, Exception):
            logger.error("A receiver of a live_push signal raised: %r.", receiver, exc_info=answer)


def _mail(endpoint: ClientEndpoint, what: str, text: str) -> None:
    if not endpoint.contact_email:
        return
    subject = _("Endpoint “%(name)s” %(what)s") % {"name": endpoint.name, "what": what}
    try:
        send_mail(subject, text, None, [endpoint.contact_email])
    except Exception:
        logger.exception("The notice about endpoint %s could not be mailed.", endpoint.pk)
