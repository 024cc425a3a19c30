"""Find the profiles whose current state an endpoint has not accepted."""

from __future__ import annotations

from collections.abc import Sequence

from live_push.models import ClientEndpoint, Confirmation, Delivery, UserProfile

from . import snapshots


def profiles_behind(
    profile_ids: Sequence[int], endpoint: ClientEndpoint, *, using: str, verify: bool = False
) -> list[int]:
    """Return the ids of those profiles for which the endpoint is behind, sorted.

    An endpoint is behind if its audience holds the profile, it has not accepted the current state, and no delivery of
    this state waits for it. States are compared by their sequence. With ``verify``, the digests of the snapshots are
    compared as well, which finds changes by raw SQL, raw saves and restored backups.
    """
    profiles = UserProfile.objects.using(using).filter(pk__in=profile_ids)
    behind = set(profiles.behind_or_never_sent(endpoint.pk).without_waiting(endpoint.pk).values_list("pk", flat=True))
    if verify:
        others = profiles.in_audience_of(endpoint.pk).exclude(pk__in=behind)
        behind |= _differing(list(others.values_list("pk", flat=True)), endpoint, using=using)
    return sorted(behind)


def _differing(profile_ids: Sequence[int], endpoint: ClientEndpoint, *, using: str) -> set[int]:
    """Return the profiles whose current snapshot differs from the last one that the endpoint accepted or will get."""
    confirmations = Confirmation.objects.using(using).filter(endpoint=endpoint, profile__in=profile_ids)
    ignore_id = endpoint.capture_third_party_id
    # For each profile the digest to compare with, and whether to ignore the third-party id.
    expected: dict[int, tuple[str, bool] | None] = {
        pk: (digest, ignore_id) for pk, digest in confirmations.values_list("profile_id", "digest")
    }
    live = Delivery.objects.using(using).filter(endpoint=endpoint, profile__in=list(expected)).live()
    for pk, sequence, digest in live.order_by("pk").values_list("profile_id", "push__sequence", "push__digest"):
        # A resend without a sequence will send the state that is current by then, so there is nothing to compare.
        expected[pk or 0] = (digest, False) if sequence is not None else None
    compared = {pk: digest for pk, digest in expected.items() if digest is not None}
    rows = snapshots.read_rows(list(compared), using=using)
    return {
        pk
        for pk, row in rows.items()
        if snapshots.row_digest(row, using=using, ignore_third_party_id=compared[pk][1]) != compared[pk][0]
    }
