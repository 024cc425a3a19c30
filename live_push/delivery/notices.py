"""What the world is told after a settlement's commit: signals, log records, and a mail to the endpoint's contact.

Each incident is told once: an endpoint that fails, that is disabled, that recovers, whose credentials can't be used.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.mail import send_mail
from django.dispatch import Signal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from live_push import signals
from live_push.models import ClientEndpoint, EndpointHealth
from live_push.models.clock import db_now

if TYPE_CHECKING:
    from .settle import Verdict

logger = logging.getLogger("live_push.delivery")

FAILING_AFTER = timedelta(hours=6)
DISABLED_AFTER = timedelta(days=5)


def announce(verdicts: Sequence[Verdict], unwell: Collection[int], *, using: str) -> None:
    """Announce what was written; nothing that a receiver or a mail server does can undo it.

    ``unwell`` are the endpoints that fail, or whose failing was told and is over.
    """
    for verdict in verdicts:
        _announce_delivery(verdict)
    gone = {verdict.outcome.prepared.endpoint.pk for verdict in verdicts if verdict.decision.reason == "gone"}
    for pk in sorted({*unwell}):
        _announce_endpoint(pk, gone=pk in gone, using=using)


def _announce_delivery(verdict: Verdict) -> None:
    attempt, endpoint = verdict.attempt, verdict.outcome.prepared.endpoint
    if verdict.decision.status == "succeeded":
        _tell(signals.delivery_succeeded, delivery=attempt.delivery, attempt=attempt)
        if attempt.captured_id is not None and not attempt.capture_conflict:
            _tell(
                signals.third_party_id_captured,
                profile_id=attempt.delivery.profile_id,
                endpoint=endpoint,
                old=attempt.replaced_id,
                new=attempt.captured_id,
            )
    elif verdict.decision.status == "failed":
        logger.error(
            "Delivery %s to endpoint %s failed for good: %s.",
            attempt.delivery_id,
            endpoint.pk,
            verdict.decision.reason or verdict.decision.error_code,
        )
        _tell(signals.delivery_failed, delivery=attempt.delivery, attempt=attempt)


def _announce_endpoint(endpoint_id: int, *, gone: bool, using: str) -> None:
    health = EndpointHealth.objects.using(using).select_related("endpoint").filter(pk=endpoint_id).first()
    if health is None:
        return
    endpoint, now = health.endpoint, db_now(using)
    if gone:
        _disable(endpoint, gettext_noop("The client answered 410 Gone."), using=using)
    elif health.failing_since is None:
        if health.failing_noticed_at is not None and _claim_notice(health, None, using=using):
            logger.warning("Endpoint %s has recovered.", endpoint.pk)
            _tell(signals.endpoint_recovered, endpoint=endpoint)
            _mail(endpoint, _("has recovered"), _("Pushes are accepted again."))
    elif health.failing_since <= now - DISABLED_AFTER:
        _disable(endpoint, gettext_noop("No success for five days."), using=using)
    elif (
        health.failing_since <= now - FAILING_AFTER
        and health.failing_noticed_at is None
        and _claim_notice(health, now, using=using)
    ):
        logger.error("Endpoint %s has been failing since %s.", endpoint.pk, health.failing_since)
        _tell(signals.endpoint_failing, endpoint=endpoint, since=health.failing_since)
        _mail(endpoint, _("is failing"), _("No push was accepted for six hours. Every attempt is in the delivery log."))


def announce_credentials(endpoint_id: int, problem: str, *, using: str) -> None:
    """Announce that an endpoint's secrets can't be read, or (``problem`` is empty) that they can be again."""
    endpoint = ClientEndpoint.objects.using(using).filter(pk=endpoint_id).first()
    if endpoint is None:
        return
    if problem:
        logger.error("Endpoint %s needs credentials; its deliveries wait. %s", endpoint.pk, problem)
        _tell(signals.endpoint_needs_credentials, endpoint=endpoint, problem=problem)
        # Why is for who runs this project, and stands in the log: the contact may be somebody else.
        _mail(
            endpoint,
            _("needs credentials"),
            _("They can't be used. What waits is kept until new ones are entered."),
        )
    else:
        logger.warning("Endpoint %s has its credentials again.", endpoint.pk)
        _tell(signals.endpoint_has_credentials, endpoint=endpoint)
        _mail(endpoint, _("has its credentials again"), _("What waited is sent."))


def _claim_notice(health: EndpointHealth, noticed_at: object, *, using: str) -> bool:
    """Of all workers, one tells it: whoever turns the mark."""
    rows = EndpointHealth.objects.using(using).filter(pk=health.pk, failing_noticed_at=health.failing_noticed_at)
    return bool(rows.update(failing_noticed_at=noticed_at))


def _disable(endpoint: ClientEndpoint, reason: str, *, using: str) -> None:
    # Stored as it stands in the source: whoever looks at it has it translated.
    active = ClientEndpoint.objects.using(using).filter(pk=endpoint.pk, is_active=True)
    if active.update(is_active=False, disabled_reason=reason):
        logger.error("Endpoint %s was disabled: %s", endpoint.pk, reason)
        _tell(signals.endpoint_disabled, endpoint=endpoint, reason=reason)
        _mail(
            endpoint,
            _("was disabled"),
            _(reason)
            + " "
            + _("What waits for it is kept. Enable it again to send the current state of every member."),
        )


def _tell(signal: Signal, **arguments: object) -> None:
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
