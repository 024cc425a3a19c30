"""Give back deliveries that a worker does not send: claimed ones, and started ones whose requests were not sent.

Those whose member is outside the endpoint's audience are cancelled instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Final

from django.db.models import QuerySet

from live_push.models import Audience, Delivery, DeliveryReason, EndpointHealth
from live_push.models.clock import DbNow, db_now
from live_push.models.transactions import in_transaction, lock_free

from . import transitions
from .claimed_delivery import ClaimedDelivery

RENEWED_FOR: Final = timedelta(seconds=15)
"""How much longer the lease of an ended attempt lasts while its outcome can't be settled."""


def renew(deliveries: Collection[ClaimedDelivery], *, using: str) -> None:
    """Renew the leases of deliveries whose attempts have ended but can't be settled yet, for :data:`RENEWED_FOR`."""
    until = db_now(using) + RENEWED_FOR
    _change_free(deliveries, lambda free: transitions.renew_lease(free, until), using=using)


def undo(deliveries: Collection[ClaimedDelivery], *, using: str) -> int:
    """Undo the starts of deliveries whose requests were not sent; return how many this worker still had leased.

    The deliveries become pending and due at once, as if no attempt had been made. Undoing a start twice changes
    nothing. A delivery whose row another transaction has locked is released when its lease ends.
    """
    rows = _change_free(deliveries, lambda free: transitions.undo_start(free, DbNow()), using=using)
    if rows:
        take_back_probes(deliveries, using=using)
    return rows


def give_back(
    deliveries: Collection[Delivery | ClaimedDelivery], *, using: str, after: timedelta = timedelta(0)
) -> int:
    """Give back claimed deliveries that were not started, and return their number. Any worker can claim them.

    The deliveries are due again when the time ``after`` has passed, by default at once. A delivery whose row another
    transaction has locked is released when its lease ends.
    """
    if not deliveries:
        return 0
    due_at = db_now(using) + after if after else DbNow()
    rows = _change_free(deliveries, lambda free: transitions.give_back(free, due_at), using=using)
    if rows:
        take_back_probes(deliveries, using=using)
    return rows


def leave_out_outsiders(deliveries: Collection[ClaimedDelivery], *, using: str) -> None:
    """Cancel those of these claimed deliveries that were not started and whose member is outside the audience."""
    judged = [delivery.pk for delivery in deliveries if delivery.endpoint.audience != Audience.ALL]
    if not judged:
        return
    rows = Delivery.objects.using(using).filter(pk__in=judged).outside_audience()
    ids = set(rows.values_list("pk", flat=True))
    outside = [delivery for delivery in deliveries if delivery.pk in ids]
    if _change_free(outside, lambda free: transitions.leave_out(free, DeliveryReason.AUDIENCE, DbNow()), using=using):
        take_back_probes(outside, using=using)


def _change_free(
    deliveries: Collection[Delivery | ClaimedDelivery], change: Callable[[QuerySet[Delivery]], int], *, using: str
) -> int:
    """Change the deliveries that this worker still leases and that are not locked; return their number."""
    rows = 0
    for token in {delivery.lease_token for delivery in deliveries}:
        ours = Delivery.objects.using(using).filter(lease_token=token)
        rows += in_transaction(partial(_lock_and_change, ours, deliveries, change), using=using)
    return rows


def _lock_and_change(
    ours: QuerySet[Delivery],
    deliveries: Collection[Delivery | ClaimedDelivery],
    change: Callable[[QuerySet[Delivery]], int],
) -> int:
    free = lock_free(ours, [delivery.pk for delivery in deliveries])
    return change(ours.filter(pk__in=free)) if free else 0


def take_back_probes(deliveries: Collection[Delivery | ClaimedDelivery], *, using: str) -> None:
    """If a given-back delivery was the probe of its endpoint, allow another probe at once."""
    given_back = {(delivery.endpoint_id, delivery.profile_id) for delivery in deliveries}
    half_open = EndpointHealth.objects.using(using).filter(breaker_state="half_open")
    probes = half_open.filter(pk__in={endpoint_id for endpoint_id, _ in given_back})
    for endpoint_id, profile_id in probes.values_list("pk", "probe_profile_id"):
        if (endpoint_id, profile_id) not in given_back:
            continue
        probe = half_open.filter(pk=endpoint_id, probe_profile_id=profile_id)
        # If another transaction has locked the row, another probe is allowed when the lease of this one ends.
        in_transaction(partial(_end_probe, probe), using=using)


def _end_probe(probe: QuerySet[EndpointHealth]) -> None:
    if lock_free(probe, list(probe.values_list("pk", flat=True))):
        probe.update(breaker_state="open", rests_until=DbNow())
