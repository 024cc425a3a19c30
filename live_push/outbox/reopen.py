"""A new run for deliveries that ended or waited: redelivery and re-activation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext_noop as _

from live_push.chunks import chunks
from live_push.models import (
    Confirmation,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    Ordering,
    Priority,
    Push,
    UserProfile,
)
from live_push.models.clock import DbNow, db_now
from live_push.models.deliveries import END_OF_LINE
from live_push.models.locking import locked

from . import resend
from .claim import cancel

ROWS_PER_TRANSACTION = 500
NOT_OVER_OR_WELL = {
    DeliveryStatus.PENDING: _("it is pending; only failed and cancelled deliveries are redelivered"),
    DeliveryStatus.SENDING: _("it is sending; only failed and cancelled deliveries are redelivered"),
    DeliveryStatus.SUCCEEDED: _("it is succeeded; only failed and cancelled deliveries are redelivered"),
}
NEW_RUN = {"run_attempts": 0, "run_started_at": None, "stalls": 0}


@dataclass(frozen=True)
class Skipped:
    """A delivery that was not redelivered, and the sentence why, marked for translation."""

    delivery_id: int
    why: str


def redeliver(delivery_ids: Collection[int], *, using: str) -> tuple[list[int], list[Skipped]]:
    """Send the same events again, with the same event id and the same snapshot: a new run for each.

    Returns the ids of the reopened deliveries, and those skipped: only failed and cancelled deliveries that still have
    their snapshot, and never one that is older than what the endpoint has accepted since.
    """
    reopened: list[int] = []
    skipped: list[Skipped] = []
    for some in chunks(sorted(set(delivery_ids)), ROWS_PER_TRANSACTION):
        with transaction.atomic(using=using):
            # The deliveries alone: who prunes locks their pushes after all of them.
            list(locked(Delivery.objects.using(using).filter(pk__in=some)).order_by("pk").values_list("pk"))
            can, cannot = _sorted_out(some, _with_accepted(some, using=using))
            Delivery.objects.using(using).filter(pk__in=can).update(
                status=DeliveryStatus.PENDING,
                reason=DeliveryReason.NONE,
                priority=Priority.RETRY,
                next_attempt_at=DbNow(),
                ended_at=None,
                redelivered=True,
                # What ended before its push was drawn still stands at the end of the line.
                position=Subquery(Push.objects.filter(pk=OuterRef("push")).values("sequence")),
                **NEW_RUN,
            )
            reopened += can
            skipped += cannot
    return reopened, skipped


def plan(delivery_ids: Collection[int], *, using: str) -> tuple[list[int], list[Skipped]]:
    """What :func:`redeliver` would reopen and skip now; changes and locks nothing."""
    would: list[int] = []
    skipped: list[Skipped] = []
    for some in chunks(sorted(set(delivery_ids)), ROWS_PER_TRANSACTION):
        can, cannot = _sorted_out(some, _with_accepted(some, using=using))
        would += can
        skipped += cannot
    return would, skipped


def _sorted_out(delivery_ids: Collection[int], deliveries: QuerySet[Delivery]) -> tuple[list[int], list[Skipped]]:
    can: list[int] = []
    skipped: list[Skipped] = []
    for delivery in deliveries:
        why = _why_not(delivery)
        if why:
            skipped.append(Skipped(delivery.pk, why))
        else:
            can.append(delivery.pk)
    known = {*can, *(entry.delivery_id for entry in skipped)}
    return can, skipped + [Skipped(pk, _("there is no such delivery")) for pk in delivery_ids if pk not in known]


def _with_accepted(delivery_ids: Collection[int], *, using: str) -> QuerySet[Delivery]:
    accepted = Confirmation.objects.filter(endpoint=OuterRef("endpoint"), profile=OuterRef("profile"))
    deliveries = Delivery.objects.using(using).filter(pk__in=delivery_ids).select_related("push")
    return deliveries.annotate(accepted=Subquery(accepted.values("sequence"))).order_by("pk")


def _why_not(delivery: Delivery) -> str:
    if delivery.status in NOT_OVER_OR_WELL:
        return NOT_OVER_OR_WELL[DeliveryStatus(delivery.status)]
    if delivery.push.error:
        return _("its payload could not be built; correct the cause and use resend")
    if delivery.profile_id is None:
        return _("its member was deleted")
    if delivery.push.payload is None:
        return _("its body is no longer kept; use resend")
    accepted: int = delivery.accepted or 0  # type: ignore[attr-defined]
    if accepted >= (delivery.push.sequence or 0):
        return _("a newer state was accepted; use resend")
    return ""


def reactivate(endpoint_id: int, *, using: str) -> int:
    """An endpoint was switched on: its waiting deliveries begin a new run, and who changed meanwhile is resent.

    In the caller's transaction. Returns the number of profiles resent.
    """
    with transaction.atomic(using=using, savepoint=False):
        # In the order of everyone: profiles, to which what is inserted refers, endpoint health, deliveries.
        missed = resend.spans(_missed(endpoint_id, using=using))
        resent = sum(resend.record_selected(span.profiles, using=using, endpoint_ids=[endpoint_id]) for span in missed)
        now = db_now(using)
        EndpointHealth.objects.using(using).filter(pk=endpoint_id).update(
            breaker_state="closed",
            failures_in_row=0,
            rest_seconds=0,
            rests_until=None,
            failing_since=None,
            failing_noticed_at=None,
            activated_at=now,
            caught_up_at=None,
        )
        waiting = Delivery.objects.using(using).filter(endpoint=endpoint_id, status=DeliveryStatus.PENDING)
        _give_way(waiting.exclude(endpoint__ordering=Ordering.STRICT), now, using=using)
        waiting.update(next_attempt_at=now, **NEW_RUN)
    return resent


def _give_way(waiting: QuerySet[Delivery], now: datetime, *, using: str) -> None:
    """Of what waited, all that is older than a current state that waits too: it is days old, perhaps."""
    current = waiting.filter(profile=OuterRef("profile"), pk__gt=OuterRef("pk"), position=END_OF_LINE)
    older = waiting.filter(Exists(current)).order_by("pk").values_list("pk", flat=True)
    while ids := list(older[: resend.ROWS_PER_STATEMENT]):
        cancel(ids, DeliveryReason.SUPERSEDED, now, using=using)


def _missed(endpoint_id: int, *, using: str) -> QuerySet[UserProfile]:
    """Profiles in a state that the endpoint has not accepted, and that nothing waiting for it holds."""
    profiles = UserProfile.objects.using(using)
    health = EndpointHealth.objects.using(using).filter(pk=endpoint_id).first()
    since = health.inactive_since if health else None
    changed = profiles.behind(endpoint_id)
    if since is not None:
        # A member who was created meanwhile has no confirmation to be behind of.
        changed = changed | profiles.never_sent(endpoint_id).filter(date_last_updated__gte=since)
    return changed.without_waiting(endpoint_id)
