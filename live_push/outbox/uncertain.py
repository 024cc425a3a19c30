"""Find the pairs whose client may hold an older state than the newest one that it accepted, and resend to them.

A pair is an endpoint and a profile. A worker that loses its lease while its request is under way may learn afterwards
that the client processed the request. Another worker may have sent a newer state in between, and it is not known which
one the client processed last. So the pair's confirmation is marked as uncertain, and the current state is sent once
more. The mark is cleared when the client accepts a state whose attempt was started after the mark: by then the older
request had ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from live_push.models import Confirmation, Delivery, DeliveryReason, DeliveryStatus, UserProfile
from live_push.models.audience import in_audience
from live_push.models.transactions import in_transaction, lock_free

from . import dialect, resend, sql
from .claimed_delivery import ClaimedDelivery

PAIRS_PER_RUN: Final = 500

Pair = tuple[int, int]
"""The ids of an endpoint and a profile."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A state that the client may have processed after the lease of its attempt was lost.

    ``is_pruned`` says that the delivery was deleted. The caller then has no lock on it that would delay a deletion of
    the member, so :func:`mark` has to lock the member's row.
    """

    endpoint_id: int
    profile_id: int | None
    sequence: int
    is_pruned: bool = False

    @classmethod
    def by(cls, delivery: Delivery | ClaimedDelivery, *, is_pruned: bool = False) -> Sent:
        """Return the state that a delivery has sent."""
        return cls(delivery.endpoint_id, delivery.profile_id, delivery.position, is_pruned)


def mark(states: Iterable[Sent], now: datetime, *, using: str) -> int:
    """Mark the pairs of these states as uncertain if a newer state was started or accepted; return their number.

    Otherwise no mark is needed: a newer state can only be started after the older request has ended. A pair that is
    already marked gets the later time. Call it in the transaction that has locked the deliveries of the states.
    """
    marked = 0
    for state in states:
        if state.profile_id is None or not _is_overtaken(state, using=using):
            continue
        pair = {"endpoint_id": state.endpoint_id, "profile_id": state.profile_id}
        marked += 1
        known = Confirmation.objects.using(using).filter(**pair).update(uncertain_since=now)
        if not known and (not state.is_pruned or _holds_member(state.profile_id, using=using)):
            # A newer state was started, but none was accepted yet.
            unknown = Confirmation(**pair, sequence=0, confirmed_at=now, digest="", uncertain_since=now)
            Confirmation.objects.using(using).bulk_create([unknown], ignore_conflicts=True)
    return marked


def _holds_member(profile_id: int, *, using: str) -> bool:
    """Lock the member's row; return false if it is deleted or locked. Never waits: the caller may hold locks."""
    return lock_free(UserProfile._base_manager.using(using), [profile_id]) != []


def _is_overtaken(state: Sent, *, using: str) -> bool:
    pair = Q(endpoint=state.endpoint_id, profile=state.profile_id)
    started = Delivery.objects.using(using).filter(pair, position__gt=state.sequence, attempts_made__gt=0)
    return started.exists() or Confirmation.objects.using(using).filter(pair, sequence__gt=state.sequence).exists()


def marked(profile_ids: Collection[int], *, using: str) -> dialect.Statement:
    """Return the SELECT of the marked pairs of these profiles, for :func:`clear`."""
    values: dict[str, Any] = {}
    profiles = dialect.any_of(values, "profile_id", profile_ids, using=using, name="profiles")
    return dialect.Statement(sql.fill(sql.MARKED, using=using, profiles=profiles), values)


def clear(rows: Iterable[tuple[Any, ...]], accepted: Mapping[Pair, datetime], *, using: str) -> None:
    """Clear the marks of pairs whose client accepted a state.

    ``rows`` are those of :func:`marked`, ``accepted`` has the start time of each attempt.
    """
    for pk, endpoint_id, profile_id, since in rows:
        started_at = accepted.get((endpoint_id, profile_id))
        marked_at = dialect.read_moment(since)
        if started_at is not None and started_at > marked_at:
            # Clear the mark only if it is unchanged: another settlement may have marked the pair again.
            Confirmation.objects.using(using).filter(pk=pk, uncertain_since=marked_at).update(uncertain_since=None)


def heal(*, using: str) -> int:
    """Resend to each uncertain pair, unless another delivery will send the current state; return the number of resends.

    Workers call it every few seconds. It leaves out inactive endpoints, because activation resends to them. It does not
    wait for locks: a member whose row is locked is resent by a later call.
    """
    by_endpoint: dict[int, list[int]] = defaultdict(list)
    for endpoint_id, profile_id in _unhealed(using).values_list("endpoint_id", "profile_id")[:PAIRS_PER_RUN]:
        by_endpoint[endpoint_id].append(profile_id)
    healed = 0
    for endpoint_id, profile_ids in sorted(by_endpoint.items()):
        healed += in_transaction(partial(_heal, endpoint_id, profile_ids, using=using), using=using)
    return healed


def _heal(endpoint_id: int, profile_ids: Collection[int], *, using: str) -> int:
    free = lock_free(UserProfile._base_manager.using(using), profile_ids)
    # Check again under the locks, because another worker may have been faster.
    still = _unhealed(using).filter(endpoint=endpoint_id, profile__in=free)
    ids = list(still.values_list("profile_id", flat=True))
    return resend.record(ids, using=using, endpoint_ids=[endpoint_id]) if ids else 0


def _unhealed(using: str) -> QuerySet[Confirmation]:
    """Return the uncertain pairs that have no delivery recorded after the mark, and none that sends the current state.

    Members outside the endpoint's audience are left out, because nothing is sent of them.

    A delivery recorded after the mark counts even if it failed for good. The log shows the failure, and resending again
    and again to an endpoint that refuses would not help. One that was left out does not count: it was compared before
    the mark was there, or the member was outside the audience meanwhile.
    """
    own = Delivery.objects.filter(endpoint=OuterRef("endpoint"), profile=OuterRef("profile"))
    left_out = [DeliveryReason.UNCHANGED, DeliveryReason.AUDIENCE]
    later = own.filter(created_at__gt=OuterRef("uncertain_since")).exclude(reason__in=left_out)
    live = own.filter(
        status__in=[DeliveryStatus.PENDING, DeliveryStatus.SENDING],
        position__gte=OuterRef("profile__changed_sequence"),
    )
    uncertain = Confirmation.objects.using(using).filter(uncertain_since__isnull=False, endpoint__is_active=True)
    uncertain = uncertain.filter(in_audience("endpoint", "profile"))
    return uncertain.filter(~Exists(later), ~Exists(live)).order_by("uncertain_since", "pk")
