"""Which endpoints lack a profile's current state: by sequence, and on request by what they were sent."""

from __future__ import annotations

from collections.abc import Sequence

from live_push.models import ClientEndpoint, Confirmation, UserProfile

from . import snapshots


def lacking(profile_ids: Sequence[int], endpoint: ClientEndpoint, *, using: str, verify: bool = False) -> list[int]:
    """Of these profiles, those whose current state the endpoint has neither accepted nor waiting for it.

    By sequence; with ``verify`` also by digest, which finds what raw SQL or a restored backup changed.
    """
    profiles = UserProfile.objects.using(using).filter(pk__in=profile_ids)
    stale = set(profiles.stale(endpoint.pk).without_waiting(endpoint.pk).values_list("pk", flat=True))
    if verify:
        stale |= _differing([pk for pk in profile_ids if pk not in stale], endpoint, using=using)
    return sorted(stale)


def _differing(profile_ids: Sequence[int], endpoint: ClientEndpoint, *, using: str) -> set[int]:
    confirmations = Confirmation.objects.using(using).filter(endpoint=endpoint, profile__in=profile_ids)
    accepted = dict(confirmations.values_list("profile_id", "digest"))
    ignoring = endpoint.capture_third_party_id
    rows = snapshots.read(list(accepted), using=using)
    return {
        pk
        for pk, row in rows.items()
        if snapshots.digest(row, using=using, ignore_third_party_id=ignoring) != accepted[pk]
    }
