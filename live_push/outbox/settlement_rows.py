"""Lock the rows that a settlement writes, except those that another transaction has locked.

A transaction of the host project may lock the row of a member or of an endpoint for as long as it lasts. A settlement
does not wait for it: the outcomes that need such a row are settled later, and the others now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections

from live_push.models import ClientEndpoint, Delivery, EndpointHealth, UserProfile
from live_push.models.transactions import held_elsewhere, lock_free, locked

from . import dialect, sql
from .health_rows import HealthRows, note_success
from .outcome import Outcome


@dataclass(frozen=True)
class Rows:
    """The locked rows, and the ids of rows that other transactions have locked. A row in neither was deleted.

    ``tokens``
        The lease token of each delivery, by the delivery's id. An outcome counts only if it has the same token.
    """

    profiles: Mapping[int, UserProfile]
    healths: HealthRows
    tokens: Mapping[int, UUID | None]
    held_profiles: Collection[int]
    held_endpoints: Collection[int]
    held_healths: Collection[int]
    held_deliveries: Collection[int]

    def are_free_for(self, outcome: Outcome) -> bool:
        """Return whether all rows that this outcome needs are locked here or deleted."""
        delivery = outcome.delivery
        return not (
            delivery.pk in self.held_deliveries
            or outcome.delivery.endpoint_id in self.held_healths
            or outcome.delivery.endpoint_id in self.held_endpoints
            or delivery.profile_id in self.held_profiles
        )


def lock(
    batch: Sequence[Outcome], profile_ids: set[int], gone_ids: set[int], *, drained: Collection[int], using: str
) -> Rows:
    """Lock the rows that a batch needs, in the caller's transaction. The order is profile, endpoint health, delivery.

    ``profile_ids`` are the profiles that get a third-party id, ``gone_ids`` the endpoints that will be disabled, and
    ``drained`` those whose slots are given back. If the database can't skip locked rows, it raises an error for which
    :func:`~live_push.models.transactions.is_locked` returns true.
    """
    profiles = _lock_profiles(profile_ids, using=using) if profile_ids else {}
    gone = lock_free(ClientEndpoint.objects.using(using), gone_ids) if gone_ids else []
    endpoint_ids = {outcome.delivery.endpoint_id for outcome in batch}
    healths = _healths(batch, endpoint_ids, drained, using=using)
    delivery_ids = {outcome.delivery.pk for outcome in batch}
    tokens = _lock_deliveries(delivery_ids, using=using)
    return Rows(
        profiles,
        healths,
        tokens,
        held_elsewhere(UserProfile, profile_ids, profiles, using=using),
        held_elsewhere(ClientEndpoint, gone_ids, gone, using=using),
        held_elsewhere(EndpointHealth, endpoint_ids, healths.by_id, using=using),
        held_elsewhere(Delivery, delivery_ids, tokens, using=using),
    )


def _healths(
    batch: Sequence[Outcome], endpoint_ids: Collection[int], drained: Collection[int], *, using: str
) -> HealthRows:
    """Return the health rows, not locked if the batch will change none: a claim may need their locks meanwhile."""
    if not drained and all(outcome.is_plain_success for outcome in batch):
        read = HealthRows(endpoint_ids, using=using, locked=False)
        for health in read.by_id.values():
            note_success(health, read.now)
        if not read.have_changed:
            return read
    return HealthRows(endpoint_ids, using=using)


def _lock_profiles(ids: set[int], *, using: str) -> dict[int, UserProfile]:
    profiles = UserProfile._base_manager.using(using).filter(pk__in=ids)
    return {profile.pk: profile for profile in locked(profiles, skip_locked=True).order_by("pk")}


def _lock_deliveries(ids: set[int], *, using: str) -> dict[int, UUID | None]:
    values: dict[str, Any] = {}
    deliveries = dialect.any_of(values, "d.id", ids, using=using)
    ours = sql.fill(sql.LEASED, using=using, deliveries=deliveries, row_locks=dialect.row_locks(using, of="d"))
    with connections[using].cursor() as cursor:
        cursor.execute(ours, values)
        return {pk: dialect.read_uuid(token) for pk, token in cursor.fetchall()}
