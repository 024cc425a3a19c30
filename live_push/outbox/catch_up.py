"""Resend changes that were under way while their endpoint was being activated, or while its audience was being widened.

The transaction of such a change sees the endpoint as inactive, or the member outside of its audience, so it records no
delivery for the endpoint. The activation does not see the change, because the change is committed later. Once both are
committed, workers can find the change.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from django.db.models import Exists, OuterRef, QuerySet

from live_push.models import Delivery, DeliveryReason, EndpointHealth, UserProfile
from live_push.models.clock import db_now
from live_push.models.deliveries import END_OF_LINE
from live_push.models.transactions import in_transaction, lock_free

from . import resend

FIRST_LOOK_AFTER = timedelta(seconds=5)
LOOKING_FOR = timedelta(hours=1)
"""How long to look after an activation or a wider audience. No transaction of the host project should take longer."""

PROFILES_PER_TRANSACTION = 500


def catch_up(*, using: str) -> int:
    """Resend changes that were under way while their endpoint was activated; return the number of profiles.

    Workers call it every few seconds. It looks for such changes 5, 10, 20 … seconds after the activation of an
    endpoint, for an hour. Only one worker does each of these searches.
    """
    now = db_now(using)
    resent = 0
    recently = EndpointHealth.objects.using(using).filter(endpoint__is_active=True, activated_at__isnull=False)
    for health in recently.filter(activated_at__gt=now - 2 * LOOKING_FOR):
        if _is_time(health, now) and _mark(health, health.caught_up_at, now, using=using):
            resent += _resend(health, using=using)
            if _unrecorded(health, using=using).exists():
                # The host project has locked some members' rows. Undo the mark, so that the next call searches again.
                _mark(health, now, health.caught_up_at, using=using)
    return resent


def _resend(health: EndpointHealth, *, using: str) -> int:
    resent = 0
    for span in resend.spans(_unrecorded(health, using=using), PROFILES_PER_TRANSACTION):
        record = partial(resend.record_selected, span.profiles, endpoint_ids=[health.pk], skip_locked=True)
        resent += in_transaction(partial(record, using=using), using=using)
    return resent


def _is_time(health: EndpointHealth, now: datetime) -> bool:
    if health.activated_at is None:
        return False
    looked = health.caught_up_at - health.activated_at if health.caught_up_at else timedelta(0)
    return looked < LOOKING_FOR and now - health.activated_at >= max(FIRST_LOOK_AFTER, 2 * looked)


def _mark(health: EndpointHealth, before: datetime | None, after: datetime | None, *, using: str) -> bool:
    """Set the time of the last search. Return false if another worker was faster, or if the row is locked."""
    same = EndpointHealth.objects.using(using).filter(activated_at=health.activated_at, caught_up_at=before)

    def set_mark() -> bool:
        return bool(lock_free(same, [health.pk]) and same.filter(pk=health.pk).update(caught_up_at=after))

    return in_transaction(set_mark, using=using)


def _unrecorded(health: EndpointHealth, *, using: str) -> QuerySet[UserProfile]:
    """Return recently changed profiles whose state the endpoint has not accepted and that have no delivery of it."""
    since = (health.activated_at or health.inactive_since) - LOOKING_FOR  # type: ignore[operator]
    if health.inactive_since is not None:
        since = max(since, health.inactive_since)
    recorded = Delivery.objects.filter(
        endpoint=health.pk, profile=OuterRef("pk"), position__gte=OuterRef("changed_sequence")
    )
    # A resend that was superseded before its body was drawn sent no state, so it does not count. Neither does what
    # ended because the member was outside the audience.
    recorded = recorded.exclude(reason=DeliveryReason.SUPERSEDED, position=END_OF_LINE)
    recorded = recorded.exclude(reason=DeliveryReason.AUDIENCE)
    changed = UserProfile.objects.using(using).filter(date_last_updated__gte=since)
    return changed.behind_or_never_sent(health.pk).exclude(Exists(recorded))
