"""How many members have each branding, and how many an endpoint gains and loses by another audience."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Count

from live_push.models import ClientEndpoint, UserProfile


def members_by_branding(*, using: str, at_most: int, also: Collection[str] = ()) -> dict[str, int]:
    """Return the number of members by branding: of the brandings with the most members, and of those in ``also``."""
    in_use = UserProfile.objects.using(using).exclude(client_branding_id=None).exclude(client_branding_id="")
    counted = in_use.order_by().values_list("client_branding_id").annotate(members=Count("pk"))
    most = counted.order_by("-members", "client_branding_id")[:at_most]
    return {**dict.fromkeys(also, 0), **dict(counted.filter(client_branding_id__in=also)), **dict(most)}


def is_in_audience(profile: UserProfile, endpoint: ClientEndpoint, *, using: str) -> bool:
    """Return whether the endpoint receives the member."""
    return UserProfile.objects.using(using).filter(pk=profile.pk).in_audience_of(endpoint.pk).exists()


def unused_brandings(brandings: Collection[str], *, using: str) -> list[str]:
    """Return those of these brandings that no member has, sorted."""
    members = UserProfile.objects.using(using).filter(client_branding_id__in=brandings)
    return sorted({*brandings} - {*members.order_by().values_list("client_branding_id", flat=True).distinct()})


@dataclass(frozen=True, kw_only=True)
class AudienceChange:
    """What another audience means in numbers of members. ``held`` are those whom it holds."""

    entering: int
    leaving: int
    held: int


def audience_change(before: Collection[str] | None, after: Collection[str] | None, *, using: str) -> AudienceChange:
    """Compare two audiences: the listed brandings, or ``None`` for all members."""

    def count(brandings: Collection[str] | None) -> int:
        members = UserProfile.objects.using(using)
        return (members if brandings is None else members.filter(client_branding_id__in=brandings)).count()

    held = count(after)
    both = held if before is None else count(before if after is None else {*before} & {*after})
    return AudienceChange(entering=held - both, leaving=count(before) - both, held=held)
