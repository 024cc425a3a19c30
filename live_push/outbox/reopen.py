"""Begin a new run: for ended deliveries that are redelivered, and for those that wait for an activated endpoint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, QuerySet, Subquery, When
from django.utils.translation import gettext_noop as _

from live_push.models import (
    Confirmation,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    Ordering,
    UserProfile,
)
from live_push.models.audience import in_audience
from live_push.models.clock import db_now
from live_push.models.deliveries import END_OF_LINE
from live_push.models.transactions import locked
from live_push.rules.batched import batched

from . import resend, transitions
from .claim import cancel

ROWS_PER_TRANSACTION = 500
NOT_REDELIVERABLE = {
    DeliveryStatus.PENDING: _("it is pending; only failed and cancelled deliveries are redelivered"),
    DeliveryStatus.SENDING: _("it is sending; only failed and cancelled deliveries are redelivered"),
    DeliveryStatus.SUCCEEDED: _("it is succeeded; only failed and cancelled deliveries are redelivered"),
}


@dataclass(frozen=True)
class Skipped:
    """A delivery that was not redelivered, and why, as a sentence that is marked for translation."""

    delivery_id: int
    why: str


class Redelivered(NamedTuple):
    """The ids of the deliveries that are sent again, and those that are not."""

    reopened: list[int]
    skipped: list[Skipped]


def redeliver(delivery_ids: Collection[int], *, using: str) -> Redelivered:
    """Send the same events again, with the same event ids and the same snapshots. Each delivery begins a new run.

    Only failed and cancelled deliveries are reopened,
    if they still have their snapshot, the member is in the endpoint's audience, and the endpoint has not accepted a
    newer state.
    """
    reopened: list[int] = []
    skipped: list[Skipped] = []
    for batch in batched(sorted(set(delivery_ids)), ROWS_PER_TRANSACTION):
        with transaction.atomic(using=using):
            # Lock the deliveries and not their pushes: pruning locks the pushes after all deliveries.
            list(locked(Delivery.objects.using(using).filter(pk__in=batch)).order_by("pk").values_list("pk"))
            reopenable, refused = _partition(batch, _with_accepted(batch, using=using))
            transitions.reopen(Delivery.objects.using(using).filter(pk__in=reopenable))
            reopened += reopenable
            skipped += refused
    return Redelivered(reopened, skipped)


def plan(delivery_ids: Collection[int], *, using: str) -> Redelivered:
    """Return what :func:`redeliver` would reopen and skip now. Changes and locks nothing."""
    planned: list[int] = []
    skipped: list[Skipped] = []
    for batch in batched(sorted(set(delivery_ids)), ROWS_PER_TRANSACTION):
        reopenable, refused = _partition(batch, _with_accepted(batch, using=using))
        planned += reopenable
        skipped += refused
    return Redelivered(planned, skipped)


def _partition(delivery_ids: Collection[int], deliveries: QuerySet[Delivery]) -> tuple[list[int], list[Skipped]]:
    reopenable: list[int] = []
    skipped: list[Skipped] = []
    for delivery in deliveries:
        why = _refusal(delivery)
        if why:
            skipped.append(Skipped(delivery.pk, why))
        else:
            reopenable.append(delivery.pk)
    known = {*reopenable, *(entry.delivery_id for entry in skipped)}
    return reopenable, skipped + [Skipped(pk, _("there is no such delivery")) for pk in delivery_ids if pk not in known]


def _with_accepted(delivery_ids: Collection[int], *, using: str) -> QuerySet[Delivery]:
    accepted = Confirmation.objects.filter(endpoint=OuterRef("endpoint"), profile=OuterRef("profile"))
    deliveries = Delivery.objects.using(using).filter(pk__in=delivery_ids).select_related("push")
    annotated = deliveries.annotate(accepted=Subquery(accepted.values("sequence")))
    return annotated.annotate(
        is_in_audience=Case(When(in_audience("endpoint", "profile"), then=True), default=False)
    ).order_by("pk")


def _refusal(delivery: Delivery) -> str:
    if delivery.status in NOT_REDELIVERABLE:
        return NOT_REDELIVERABLE[DeliveryStatus(delivery.status)]
    if delivery.push.error:
        return _("its payload could not be built; correct the cause and use resend")
    if delivery.profile_id is None:
        return _("its member was deleted")
    if not delivery.is_in_audience:  # type: ignore[attr-defined]
        return _("its member is outside the endpoint's audience")
    if delivery.push.payload is None:
        return _("its body is no longer kept; use resend")
    if delivery.reason == DeliveryReason.UNCHANGED:
        return _("the endpoint has this state, apart from ignored keys; use resend to send it")
    accepted: int = delivery.accepted or 0  # type: ignore[attr-defined]
    if accepted >= (delivery.push.sequence or 0):
        return _("a newer state was accepted; use resend")
    return ""


def reactivate(endpoint_id: int, *, using: str) -> int:
    """Begin a new run for an activated endpoint's waiting deliveries, and resend what changed while it was inactive.

    Call it in the transaction that activates the endpoint. Returns the number of resent profiles.
    """
    with transaction.atomic(using=using, savepoint=False):
        # Take the locks in the order in which all code takes them: profiles (by the resends), health, deliveries.
        changed = resend.spans(_changed_while_inactive(endpoint_id, using=using))
        resent = sum(resend.record_selected(span.profiles, using=using, endpoint_ids=[endpoint_id]) for span in changed)
        now = db_now(using)
        EndpointHealth.objects.using(using).filter(pk=endpoint_id).update(
            breaker_state="closed",
            failures_in_row=0,
            rest_seconds=0,
            rests_until=None,
            failing_since=None,
            failing_days=[],
            failing_noticed_at=None,
            activated_at=now,
            caught_up_at=None,
        )
        waiting = Delivery.objects.using(using).filter(endpoint=endpoint_id, status=DeliveryStatus.PENDING)
        _cancel_older(waiting.exclude(endpoint__ordering=Ordering.STRICT), now, using=using)
        transitions.restart(waiting, now)
    return resent


def _cancel_older(waiting: QuerySet[Delivery], now: datetime, *, using: str) -> None:
    """Cancel waiting deliveries, perhaps days old, that a waiting resend of the current state supersedes."""
    current = waiting.filter(profile=OuterRef("profile"), pk__gt=OuterRef("pk"), position=END_OF_LINE)
    older = waiting.filter(Exists(current)).order_by("pk").values_list("pk", flat=True)
    while ids := list(older[: resend.ROWS_PER_STATEMENT]):
        cancel(ids, DeliveryReason.SUPERSEDED, now, using=using)


def _changed_while_inactive(endpoint_id: int, *, using: str) -> QuerySet[UserProfile]:
    """Return the profiles whose current state the endpoint has not accepted and no waiting delivery will send."""
    profiles = UserProfile.objects.using(using)
    health = EndpointHealth.objects.using(using).filter(pk=endpoint_id).first()
    since = health.inactive_since if health else None
    changed = profiles.behind(endpoint_id)
    if since is not None:
        # behind() needs a confirmation, and a member who was created while the endpoint was inactive has none.
        changed = changed | profiles.never_sent(endpoint_id).filter(date_last_updated__gte=since)
    return changed.without_waiting(endpoint_id)
