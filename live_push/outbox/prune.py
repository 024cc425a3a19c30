"""Prune the delivery log: delete deliveries that ended long ago, or empty their bodies and answers.

Rows are deleted in batches, each in its own transaction. Deliveries that have not ended are kept. Confirmations are
kept, too, so what each endpoint has accepted stays known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Exists, OuterRef, Q, QuerySet

from live_push import conf
from live_push.models import Attempt, ClientEndpoint, Delivery, DeliveryQuerySet, DeliveryStatus, Push
from live_push.models.transactions import in_transaction, lock_free, locked

from . import emptied

DELIVERIES_PER_TRANSACTION = 500
"""Size of a batch: how many deliveries are locked by one transaction."""


@dataclass(frozen=True)
class Deleted:
    """The number of rows that one batch deleted."""

    deliveries: int
    pushes: int


def rows_kept_since(now: datetime) -> dict[DeliveryStatus, datetime]:
    """Return, for each final status, the time before which ended deliveries may be deleted."""
    settings = conf.current()
    succeeded = now - timedelta(days=settings.RETENTION_SUCCEEDED_DAYS)
    failed = now - timedelta(days=settings.RETENTION_FAILED_DAYS)
    return {
        DeliveryStatus.SUCCEEDED: succeeded,
        DeliveryStatus.FAILED: failed,
        DeliveryStatus.CANCELLED: failed,
    }


def bodies_kept_since(now: datetime, *, days: int | None = None) -> dict[DeliveryStatus, datetime]:
    """Return, for each final status, the time before which bodies and answers may be emptied.

    ``days`` replaces the settings. A status whose bodies are kept as long as their rows is left out.
    """
    settings = conf.current()
    succeeded = settings.RETENTION_SUCCEEDED_BODIES_DAYS if days is None else days
    failed = settings.RETENTION_FAILED_BODIES_DAYS if days is None else days
    kept = {DeliveryStatus.SUCCEEDED: succeeded, DeliveryStatus.FAILED: failed, DeliveryStatus.CANCELLED: failed}
    return {status: now - timedelta(days=days) for status, days in kept.items() if days is not None}


def ended_before(moment: datetime, status: DeliveryStatus, *, using: str) -> DeliveryQuerySet:
    """Return the deliveries that ended with this status before this time."""
    return Delivery.objects.using(using).filter(status=status, ended_at__lt=moment)


def delete_ended(moment: datetime, status: DeliveryStatus, *, using: str) -> Iterator[Deleted]:
    """Delete the deliveries that ended with this status before this time; yield the result of each batch.

    Their attempts are deleted with them, and each push with its last delivery. The work can be stopped at any time and
    continued by a new call. A delivery that another transaction has locked is left to the next call, because this call
    must not wait for a lock while it holds others.
    """
    for page in _pages(ended_before(moment, status, using=using)):
        ids = [pk for pk, _, _ in page]
        yield in_transaction(partial(_delete, ids, moment, status, using=using), using=using)


def _pages(ended: DeliveryQuerySet) -> Iterator[list[tuple[int, int, datetime | None]]]:
    """Yield the ids, pushes and ends of deliveries page by page, the oldest first."""
    rows = ended.order_by("ended_at", "pk").values_list("pk", "push_id", "ended_at")
    page = list(rows[:DELIVERIES_PER_TRANSACTION])
    while page:
        yield page
        last_id, _, last_end = page[-1]
        # Rows of the page may still be there, so continue after its last row.
        following = rows.filter(Q(ended_at__gt=last_end) | Q(ended_at=last_end, pk__gt=last_id))
        page = list(following[:DELIVERIES_PER_TRANSACTION])


def delete_orphans(*, using: str) -> int:
    """Delete the deliveries whose endpoint does not exist any more, and return their number.

    They were recorded while the endpoint was being deleted: neither transaction saw the other's rows, and the database
    has no foreign key constraint for them.
    """
    endpoint = ClientEndpoint._base_manager.using(using).filter(pk=OuterRef("endpoint_id"))
    orphans: DeliveryQuerySet = Delivery.objects.using(using).filter(~Exists(endpoint))
    deleted = last_id = 0
    keys = orphans.order_by("pk").values_list("pk", flat=True)
    while ids := list(keys.filter(pk__gt=last_id)[:DELIVERIES_PER_TRANSACTION]):
        rows, last_id = orphans.filter(pk__in=ids), ids[-1]
        deleted += in_transaction(partial(_delete_rows, rows, using=using), using=using).deliveries
    return deleted


def _delete(delivery_ids: Collection[int], moment: datetime, status: DeliveryStatus, *, using: str) -> Deleted:
    # Filter again, because a redelivery may have reopened a delivery in the meantime.
    return _delete_rows(ended_before(moment, status, using=using).filter(pk__in=delivery_ids), using=using)


def _delete_rows(deliveries: QuerySet[Delivery], *, using: str) -> Deleted:
    # Lock the rows in the order in which a redelivery locks them.
    ids = lock_free(deliveries, list(deliveries.values_list("pk", flat=True)))
    push_ids = set(Delivery.objects.using(using).filter(pk__in=ids).values_list("push_id", flat=True))
    # Two concurrent runs may each delete one of the last two deliveries of a push. The lock of the push makes the
    # second run wait, so that it sees that no delivery is left and deletes the push.
    list(locked(Push.objects.using(using).filter(pk__in=push_ids)).order_by("pk").values_list("pk"))
    Attempt.objects.using(using).filter(delivery__in=ids).delete()
    Delivery.objects.using(using).filter(pk__in=ids).delete()
    childless = Push.objects.using(using).filter(~Exists(Delivery.objects.filter(push=OuterRef("pk"))), pk__in=push_ids)
    _, by_model = childless.only("pk").delete()
    return Deleted(len(ids), by_model.get(Push._meta.label, 0))


def drop_bodies(moments: Mapping[DeliveryStatus, datetime], *, using: str) -> Iterator[int]:
    """Empty the bodies and answers of old pushes; yield the number of pushes emptied by each batch.

    ``moments`` has, for each final status, the time before which a delivery must have ended. A push is emptied if this
    holds for all its deliveries. The rows stay, with times, outcomes and digests.
    """
    for status, moment in moments.items():
        for page in _pages(ended_before(moment, status, using=using)):
            push_ids = {push_id for _, push_id, _ in page}
            yield in_transaction(partial(_empty, push_ids, moments, using=using), using=using)


def _empty(push_ids: Collection[int], moments: Mapping[DeliveryStatus, datetime], *, using: str) -> int:
    with_body = Push.objects.using(using).filter(pk__in=push_ids, payload__isnull=False)
    deliveries = Delivery.objects.using(using).filter(push__in=list(with_body.values_list("pk", flat=True)))
    free = {*lock_free(deliveries, list(deliveries.values_list("pk", flat=True)))}
    may_be_emptied: dict[int, bool] = defaultdict(lambda: True)
    for pk, push_id, status, ended_at in deliveries.values_list("pk", "push_id", "status", "ended_at"):
        moment = moments.get(DeliveryStatus(status))
        is_over = moment is not None and ended_at is not None and ended_at < moment
        may_be_emptied[push_id] &= is_over and pk in free
    push_ids = [push_id for push_id, allowed in may_be_emptied.items() if allowed]
    Attempt.objects.using(using).filter(delivery__push__in=push_ids, answer__isnull=False).update(
        **emptied.PRUNED_ATTEMPT
    )
    return Push.objects.using(using).filter(pk__in=push_ids).update(**emptied.PRUNED_PUSH)
