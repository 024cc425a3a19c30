"""Which endpoints lack a profile's current state: by sequence, and on request by what they were sent."""

from __future__ import annotations

from collections.abc import Sequence

from live_push.models import ClientEndpoint, Confirmation, Delivery, UserProfile

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
    """Those whose current snapshot is neither what the endpoint accepted nor what waits for it."""
    confirmations = Confirmation.objects.using(using).filter(endpoint=endpoint, profile__in=profile_ids)
    ignoring = endpoint.capture_third_party_id
    known: dict[int, tuple[str, bool] | None] = {
        pk: (digest, ignoring) for pk, digest in confirmations.values_list("profile_id", "digest")
    }
    live = Delivery.objects.using(using).filter(endpoint=endpoint, profile__in=list(known)).live()
    for pk, sequence, digest in live.order_by("pk").values_list("profile_id", "push__sequence", "push__digest"):
        known[pk or 0] = (digest, False) if sequence is not None else None
    # What is drawn when it is sent is current by then.
    compared = {pk: what for pk, what in known.items() if what is not None}
    rows = snapshots.read(list(compared), using=using)
    return {
        pk
        for pk, row in rows.items()
        if snapshots.digest(row, using=using, ignore_third_party_id=compared[pk][1]) != compared[pk][0]
    }
