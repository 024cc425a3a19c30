"""The log is kept from growing: what ended long ago goes, in batches, each a transaction of its own.

Only deliveries that ended are touched. What each endpoint has confirmed lives in a table of its own, and stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from live_push import conf
from live_push.models import Attempt, ClientEndpoint, Delivery, DeliveryQuerySet, DeliveryStatus, Push
from live_push.models.locking import locked

ROWS_PER_TRANSACTION = 500


@dataclass(frozen=True)
class Deleted:
    """What one batch deleted."""

    deliveries: int
    pushes: int


def kept_since(now: datetime) -> dict[DeliveryStatus, datetime]:
    """Up to when deliveries that ended so are over their retention."""
    settings = conf.current()
    succeeded = now - timedelta(days=settings.RETENTION_SUCCEEDED_DAYS)
    failed = now - timedelta(days=settings.RETENTION_FAILED_DAYS)
    return {
        DeliveryStatus.SUCCEEDED: succeeded,
        DeliveryStatus.FAILED: failed,
        DeliveryStatus.CANCELLED: failed,
    }


def bodies_kept_since(now: datetime, *, days: int | None = None) -> dict[DeliveryStatus, datetime]:
    """The same of bodies and answers, by the settings or for so many days; without those that stay with their rows."""
    settings = conf.current()
    succeeded = settings.RETENTION_SUCCEEDED_BODIES_DAYS if days is None else days
    failed = settings.RETENTION_FAILED_BODIES_DAYS if days is None else days
    kept = {DeliveryStatus.SUCCEEDED: succeeded, DeliveryStatus.FAILED: failed, DeliveryStatus.CANCELLED: failed}
    return {status: now - timedelta(days=days) for status, days in kept.items() if days is not None}


def ended_before(moment: datetime, status: DeliveryStatus, *, using: str) -> DeliveryQuerySet:
    """The deliveries that ended so before this moment."""
    return Delivery.objects.using(using).filter(status=status, ended_at__lt=moment)


def delete_ended(moment: datetime, status: DeliveryStatus, *, using: str) -> Iterator[Deleted]:
    """Delete the deliveries that ended so before this moment, with their attempts; yields after each batch.

    A push goes with the last of its deliveries. Can be stopped and begun again at any time.
    """
    while True:
        with transaction.atomic(using=using):
            oldest = ended_before(moment, status, using=using).order_by("ended_at", "pk")
            ids = list(oldest.values_list("pk", flat=True)[:ROWS_PER_TRANSACTION])
            deleted = _delete(ids, moment, status, using=using)
        if not ids:
            return
        yield deleted


def delete_strays(*, using: str) -> int:
    """Delete what was recorded while its endpoint was being deleted; returns how many deliveries that were.

    Neither saw the other, and no constraint of the database keeps them apart.
    """
    endpoint = ClientEndpoint._base_manager.using(using).filter(pk=OuterRef("endpoint_id"))
    strays: DeliveryQuerySet = Delivery.objects.using(using).filter(~Exists(endpoint))
    deleted = 0
    while ids := list(strays.order_by("pk").values_list("pk", flat=True)[:ROWS_PER_TRANSACTION]):
        with transaction.atomic(using=using):
            deleted += _delete_these(strays.filter(pk__in=ids), using=using).deliveries
    return deleted


def _delete(delivery_ids: Collection[int], moment: datetime, status: DeliveryStatus, *, using: str) -> Deleted:
    # One that a redelivery has reopened meanwhile no longer matches.
    return _delete_these(ended_before(moment, status, using=using).filter(pk__in=delivery_ids), using=using)


def _delete_these(deliveries: QuerySet[Delivery], *, using: str) -> Deleted:
    # Locked in the order in which a redelivery locks them.
    rows = list(locked(deliveries).order_by("pk").values_list("pk", "push_id"))
    going, push_ids = [pk for pk, _ in rows], {push_id for _, push_id in rows}
    # Two runs at once may each take a push's last but one delivery: under the push's lock the second sees that.
    list(locked(Push.objects.using(using).filter(pk__in=push_ids)).order_by("pk").values_list("pk"))
    Attempt.objects.using(using).filter(delivery__in=going).delete()
    Delivery.objects.using(using).filter(pk__in=going).delete()
    childless = Push.objects.using(using).filter(~Exists(Delivery.objects.filter(push=OuterRef("pk"))), pk__in=push_ids)
    _, by_model = childless.only("pk").delete()
    return Deleted(len(going), by_model.get(Push._meta.label, 0))


def drop_bodies(moments: Mapping[DeliveryStatus, datetime], *, using: str) -> Iterator[int]:
    """Empty the bodies and answers of pushes of which every delivery ended before the moment for its end.

    What stays is that something was sent, when, how it ended, and the digests. Yields, after each batch, how many
    pushes it emptied.
    """
    for status, moment in moments.items():
        ended = ended_before(moment, status, using=using).order_by("ended_at", "pk")
        page = list(ended.values_list("pk", "push_id", "ended_at")[:ROWS_PER_TRANSACTION])
        while page:
            with transaction.atomic(using=using):
                emptied = _empty({push_id for _, push_id, _ in page}, moments, using=using)
            yield emptied
            last_id, _, last_end = page[-1]
            # The rows stay, so each page begins where the one before ended.
            beyond = ended.filter(Q(ended_at__gt=last_end) | Q(ended_at=last_end, pk__gt=last_id))
            page = list(beyond.values_list("pk", "push_id", "ended_at")[:ROWS_PER_TRANSACTION])


def _empty(push_ids: Collection[int], moments: Mapping[DeliveryStatus, datetime], *, using: str) -> int:
    full = Push.objects.using(using).filter(pk__in=push_ids, payload__isnull=False)
    deliveries = Delivery.objects.using(using).filter(push__in=list(full.values_list("pk", flat=True)))
    over: dict[int, bool] = defaultdict(lambda: True)
    for push_id, status, ended_at in locked(deliveries).order_by("pk").values_list("push_id", "status", "ended_at"):
        moment = moments.get(DeliveryStatus(status))
        over[push_id] &= moment is not None and ended_at is not None and ended_at < moment
    emptied = [push_id for push_id, is_over in over.items() if is_over]
    Attempt.objects.using(using).filter(delivery__push__in=emptied, answer__isnull=False).update(answer=None)
    return Push.objects.using(using).filter(pk__in=emptied).update(payload=None)
