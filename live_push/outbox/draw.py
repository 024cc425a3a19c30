"""Draw the bodies of resends: give each push the current state of its profile when it is first sent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from live_push.models import Delivery, Push, UserProfile
from live_push.models.sequences import NEXT_SEQUENCE
from live_push.models.transactions import held_elsewhere, in_transaction, lock_free

from . import erase, snapshots, transitions
from .claimed_delivery import ClaimedDelivery, ClaimedPush


def draw_bodies(deliveries: Sequence[ClaimedDelivery], *, using: str) -> list[ClaimedDelivery]:
    """Draw the bodies of claimed deliveries whose pushes have none, and load these pushes again.

    Returns the deliveries whose body could not be drawn, because another transaction has locked their member.
    """
    push_ids = [delivery.push.pk for delivery in deliveries if delivery.push.sequence is None]
    if not push_ids:
        return []
    draw(push_ids, using=using)
    pushes = Push.objects.using(using).in_bulk(push_ids)
    for delivery in deliveries:
        if (push := pushes.get(delivery.push.pk)) is not None:
            delivery.push = ClaimedPush.of(push)
        delivery.position = delivery.push.sequence or delivery.position
    # The push of a member who was deleted meanwhile has no profile. The deletion has also removed the delivery's lease,
    # so the delivery will not be started.
    return [
        delivery for delivery in deliveries if delivery.push.sequence is None and delivery.push.profile_id is not None
    ]


def draw(push_ids: Sequence[int], *, using: str) -> None:
    """Give pushes without a body their sequence and body, in one transaction that locks their profiles.

    Afterwards they are like any other push: every later attempt, and every other endpoint, gets the same body. A resend
    is not an update of the profile, so ``date_last_updated`` stays unchanged. A push stays without a body if another
    transaction has locked the row of its profile.
    """
    if push_ids:
        in_transaction(partial(_draw, push_ids, using=using), using=using)


def _draw(push_ids: Sequence[int], *, using: str) -> None:
    waiting = Push.objects.using(using).filter(pk__in=push_ids, sequence=None, profile__isnull=False)
    profile_ids = set(waiting.values_list("profile_id", flat=True))
    profiles = UserProfile._base_manager.using(using)
    # Lock the rows in the order of their ids before anything is written, so that two workers can't deadlock.
    free = lock_free(profiles.all(), profile_ids)
    profiles.filter(pk__in=free).update(push_sequence=NEXT_SEQUENCE)
    rows = snapshots.read_rows(free, using=using)
    gone = profile_ids - held_elsewhere(UserProfile, profile_ids, free, using=using) - {*free}
    if gone:
        erase.erase_and_detach(gone, using=using)
    pushes = waiting.filter(profile__in=free)
    for push in pushes.filter(pk__in=lock_free(pushes, push_ids)).order_by("pk"):
        _fill(push, snapshots.build_snapshot(rows[push.profile_id or 0], using=using), using=using)


def _fill(push: Push, snapshot: snapshots.Snapshot, *, using: str) -> None:
    push.sequence, push.payload = snapshot.sequence, snapshot.payload
    push.digest, push.error = snapshot.digest, snapshot.error
    push.save(using=using, update_fields=["sequence", "payload", "digest", "error"])
    transitions.take_place(Delivery.objects.using(using).filter(push=push), snapshot.sequence)
