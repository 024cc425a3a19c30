"""Pushes without a body: "the current state, whatever it is when you get there"."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from live_push.models import Delivery, DeliveryStatus, Priority, Push, PushTrigger, UserProfile
from live_push.models.clock import DbNowMs, db_now
from live_push.models.locking import locked

from . import snapshots
from .fan_out import fan_out

INSERTS_PER_STATEMENT = 500


def record(
    profile_ids: Sequence[int],
    *,
    using: str,
    trigger: str = PushTrigger.RESEND,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
) -> int:
    """Record one body-less push for each profile; returns the number of deliveries.

    Such a push is ordered last for its pair, and gives way to any newer push.
    """
    if not profile_ids or endpoint_ids == []:
        return 0
    with transaction.atomic(using=using, savepoint=False):
        now = db_now(using)
        pushes = [
            Push(event_id=uuid.uuid4(), profile_id=profile_id, trigger=trigger, created_at=now)
            for profile_id in profile_ids
        ]
        inserted = Push.objects.using(using).bulk_create(pushes, batch_size=INSERTS_PER_STATEMENT)
        return fan_out(
            [push.pk for push in inserted],
            using=using,
            priority=Priority.RESEND,
            endpoint_ids=endpoint_ids,
            due_at=due_at,
        )


def draw(push_ids: Sequence[int], *, using: str) -> None:
    """Give body-less pushes their sequence and body, in one step under the rows of their profiles.

    Afterwards they are like any other push: every later attempt, and every other endpoint, gets the same body. A resend
    is no update of the profile, so ``date_last_updated`` stays.
    """
    if not push_ids:
        return
    with transaction.atomic(using=using):
        waiting = Push.objects.using(using).filter(pk__in=push_ids, sequence=None, profile__isnull=False)
        profile_ids = sorted(set(waiting.values_list("profile_id", flat=True)))
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids)
        # The rows are locked in the order of their ids before anything is written, so that two workers can't deadlock.
        list(locked(profiles).order_by("pk").values_list("pk"))
        profiles.update(push_sequence=Greatest(F("push_sequence") + 1, DbNowMs()))
        rows = snapshots.read(profile_ids, using=using)
        for push in locked(waiting).order_by("pk"):
            _fill(push, snapshots.build(rows[push.profile_id or 0], using=using), using=using)


def _fill(push: Push, snapshot: snapshots.Snapshot, *, using: str) -> None:
    push.sequence, push.payload = snapshot.sequence, snapshot.payload
    push.digest, push.error = snapshot.digest, snapshot.error
    push.save(using=using, update_fields=["sequence", "payload", "digest", "error"])
    Delivery.objects.using(using).filter(push=push, status__in=[DeliveryStatus.PENDING, DeliveryStatus.SENDING]).update(
        position=snapshot.sequence
    )
