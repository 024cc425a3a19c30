"""Start deliveries that were claimed a while ago, with the current rows of their endpoints.

A worker keeps the endpoint that it read with the claim. The statement that starts an attempt compares the endpoint's
version, so that no request goes to an old address or carries an old secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from live_push.models.transactions import retried
from live_push.outbox import give_back, start, unchanged
from live_push.outbox.claim import active_endpoints
from live_push.outbox.claimed_delivery import ClaimedDelivery


def start_current(
    deliveries: list[ClaimedDelivery], held: Iterable[ClaimedDelivery], *, using: str, patient: Collection[int]
) -> list[ClaimedDelivery]:
    """Start the attempts of deliveries, return those that may be sent, and give back the others.

    Deliveries that hold nothing new for their endpoint are left out: they end here.

    ``held`` are further claimed deliveries. If an endpoint is read again here, they get its new row, too.
    """
    deliveries = without(unchanged.end_unchanged(deliveries, using=using), deliveries)
    started = _start(deliveries, using=using, patient=patient)
    others = without(started, deliveries)
    if others and (changed := _read_changed_endpoints(others, held, using=using)):
        again = [delivery for delivery in others if delivery.endpoint_id in changed]
        started += _start(again, using=using, patient=patient)
        others = without(started, others)
    give_back.leave_out_outsiders(others, using=using)
    if give_back.give_back(others, using=using) < len(others):
        # A statement has started some of them, and their endpoint was disabled, or the member left its audience, before
        # the new values were read.
        give_back.undo(others, using=using)
    return started


def without(left_out: Iterable[ClaimedDelivery], deliveries: Iterable[ClaimedDelivery]) -> list[ClaimedDelivery]:
    """Return the deliveries that are not left out. Compare objects, not primary keys.

    A worker whose lease expired may have claimed the same delivery again, and then holds two objects with one key.
    """
    ids = {id(delivery) for delivery in left_out}
    return [delivery for delivery in deliveries if id(delivery) not in ids]


def _start(deliveries: list[ClaimedDelivery], *, using: str, patient: Collection[int]) -> list[ClaimedDelivery]:
    endpoints = {delivery.endpoint_id: delivery.endpoint for delivery in deliveries}
    for endpoint in endpoints.values():
        # The key may have been lost since the claim, which has decrypted the secrets.
        endpoint.forget_decrypted()
    unreadable = {pk for pk, endpoint in endpoints.items() if endpoint.credentials_problem()}
    readable = [delivery for delivery in deliveries if delivery.endpoint_id not in unreadable]
    return retried(partial(start.start, readable, using=using, patient=patient), using=using)


def _read_changed_endpoints(
    deliveries: list[ClaimedDelivery], held: Iterable[ClaimedDelivery], *, using: str
) -> set[int]:
    """Read the endpoints of deliveries again; return those that are active and have changed."""
    known = {delivery.endpoint_id: delivery.endpoint for delivery in deliveries}
    active = active_endpoints(sorted(known), using=using)
    changed = {endpoint.pk: endpoint for endpoint in active if endpoint.version != known[endpoint.pk].version}
    for delivery in (*deliveries, *held):
        if delivery.endpoint_id in changed:
            delivery.endpoint = changed[delivery.endpoint_id]
    return set(changed)
