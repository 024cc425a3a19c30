"""Changes that were under way while their endpoint was switched on.

Such a change saw the endpoint switched off, so it recorded nothing for it; and the re-activation did not see the
change, which was committed later. Nobody can see both at that moment, but anybody can afterwards.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet

from live_push.models import Delivery, DeliveryReason, EndpointHealth, UserProfile
from live_push.models.clock import db_now
from live_push.models.deliveries import END_OF_LINE

from . import resend

FIRST_LOOK_AFTER = timedelta(seconds=5)
LOOKING_FOR = timedelta(hours=1)
"""No transaction of a host is expected to stay open for longer."""

ROWS_PER_TRANSACTION = 500


def catch_up(*, using: str) -> int:
    """Resend what neither the change nor the re-activation could see; returns the number of profiles.

    To be called every few seconds. It looks after an endpoint 5, 10, 20 … seconds after its activation, for an hour;
    whoever comes first looks for all.
    """
    now = db_now(using)
    found = 0
    recently = EndpointHealth.objects.using(using).filter(endpoint__is_active=True, activated_at__isnull=False)
    for health in recently.filter(activated_at__gt=now - 2 * LOOKING_FOR):
        if _is_time(health, now) and _is_first(health, now, using=using):
            for span in resend.spans(_unseen(health, using=using), ROWS_PER_TRANSACTION):
                found += resend.record_selected(span.profiles, using=using, endpoint_ids=[health.pk])
    return found


def _is_time(health: EndpointHealth, now: datetime) -> bool:
    if health.activated_at is None:
        return False
    looked = health.caught_up_at - health.activated_at if health.caught_up_at else timedelta(0)
    return looked < LOOKING_FOR and now - health.activated_at >= max(FIRST_LOOK_AFTER, 2 * looked)


def _is_first(health: EndpointHealth, now: datetime, *, using: str) -> bool:
    same = EndpointHealth.objects.using(using).filter(
        pk=health.pk, activated_at=health.activated_at, caught_up_at=health.caught_up_at
    )
    return bool(same.update(caught_up_at=now))


def _unseen(health: EndpointHealth, *, using: str) -> QuerySet[UserProfile]:
    """Profiles changed since then whose state was neither accepted nor ever recorded for the endpoint."""
    since = (health.activated_at or health.inactive_since) - LOOKING_FOR  # type: ignore[operator]
    if health.inactive_since is not None:
        since = max(since, health.inactive_since)
    recorded = Delivery.objects.filter(
        endpoint=health.pk, profile=OuterRef("pk"), position__gte=OuterRef("changed_sequence")
    )
    # A resend that gave way was never drawn: it says nothing of any state.
    recorded = recorded.exclude(reason=DeliveryReason.SUPERSEDED, position=END_OF_LINE)
    changed = UserProfile.objects.using(using).filter(date_last_updated__gte=since)
    return changed.stale(health.pk).exclude(Exists(recorded))
