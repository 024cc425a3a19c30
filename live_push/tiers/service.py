"""Applies the tier rules to a member: under the locks of the profile, then the membership, with the push beside it.

Every function writes in one transaction or not at all, and announces the profile once, inside that transaction.
Where the moment is not given it is the database's, and never earlier than the member's last event.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from django.db import router, transaction

from live_push.chunks import chunks
from live_push.exceptions import TierError
from live_push.models.clock import db_now
from live_push.models.locking import locked
from live_push.models.profiles import UserProfile
from live_push.models.tiers import Tier, TierEvent, TierMembership
from live_push.signals import profiles_changed

from . import rules
from .batches import apply_due, reevaluate
from .points import COUNTERS, Counters, instant, whole
from .rows import ProgramRows, programs

__all__ = ["apply_due", "award_points", "override_tier", "reevaluate", "spend_points", "start"]

log = logging.getLogger(__name__)

ROWS_PER_INSERT = 1000


def start(profile_ids: Sequence[int], using: str, *, at: datetime | None = None) -> list[int]:
    """Start new members in the default program and return the ids of those who began.

    Who has a membership keeps it. Announces nothing: a new profile is pushed anyway. Without a default program, or with
    one that is no ladder yet, nobody starts: half a configuration must not keep anybody from signing up.
    """
    rows = _default_program(using)
    if rows is None:
        return []
    started: list[int] = []
    with transaction.atomic(using=using):
        clock = db_now(using)
        change = rules.start(rows.as_rules, clock if at is None else instant(at))
        for some in chunks(sorted(set(profile_ids)), ROWS_PER_INSERT):
            members = TierMembership.objects.using(using)
            have = set(members.filter(pk__in=some).values_list("pk", flat=True))
            new = [profile_id for profile_id in some if profile_id not in have]
            members.bulk_create(TierMembership(profile_id=each, **rows.columns([change])) for each in new)
            TierEvent.objects.using(using).bulk_create(
                event for each in new for event in rows.history(each, [change], clock)
            )
            started += new
    return started


def award_points(profile: UserProfile, points: int, *, at: datetime | None = None) -> list[TierEvent]:
    """Add qualifying points to a member's scores and counters, and return what happened to the tier.

    First applies what is due up to ``at`` (an aware datetime, not before the member's last event). Negative points are
    a correction: they lower scores and counters, not below 0, and drop nobody. A profile without a membership moves its
    counters only. The instance's counters and its loaded membership are brought up to date. Raises ``TierError``.
    """
    points, using = whole(points), _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        clock, now = _moments(at, member, using)
        rows = None if member is None else _program_of(member.tier_id, using)
        events: list[TierEvent] = []
        if member is not None and rows is not None:
            changes = rules.award(rows.as_rules, rows.state_of(member), points, now)
            events = _write(member, rows, changes, clock, using)
        if points:
            counters = counters.awarded(points, now, UTC if rows is None else rows.zone)
            _write_counters(profile, counters, using)
        if events or points:
            _announce(profile, "tier" if events else "updated", using)
    _refresh(profile, counters, member)
    return events


def spend_points(profile: UserProfile, points: int) -> None:
    """Take redeemable points and nothing else: redeeming never lowers a tier.

    Raises ``TierError`` where ``points`` is no whole number from 0 on, or more than there are.
    """
    points, using = whole(points, least=0), _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        counters = counters.spent(points)
        if points:
            _write_counters(profile, counters, using)
            _announce(profile, "updated", using)
    _refresh(profile, counters, member)


def override_tier(profile: UserProfile, tier: Tier, at: datetime | None = None) -> list[TierEvent]:
    """Put a member into a tier by hand, after what is due: a jump or a drop by its direction.

    Who has no membership, or one in another program, starts in the tier's program first. Raises ``TierError`` where the
    member is in the tier already, or ``at`` is before the member's last event.
    """
    using = _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        clock, now = _moments(at, member, using)
        rows = _program_of(tier.pk, using)
        state = None
        if member is None:
            member = TierMembership(profile_id=profile.pk)
        elif rows.holds(member.tier_id):
            state = rows.state_of(member)
        changes = rules.override(rows.as_rules, state, rows.level_of(tier.pk), now)
        events = _write(member, rows, changes, clock, using)
        _announce(profile, "tier", using)
    _refresh(profile, counters, member)
    return events


def _default_program(using: str) -> ProgramRows | None:
    for rows in programs(using, program__is_default=True):
        try:
            _ = rows.as_rules
        except TierError as error:
            log.warning("Nobody can start: %s", error)
        else:
            return rows
    return None


def _program_of(tier_id: int, using: str) -> ProgramRows:
    for rows in programs(using, program__tiers=tier_id):
        return rows
    raise TierError(f"The tier #{tier_id} no longer exists.")


def _alias(profile: UserProfile) -> str:
    if not isinstance(profile, UserProfile) or profile.pk is None:
        raise TierError(f"Points and tiers belong to a saved profile; found {profile!r}.")
    return router.db_for_write(UserProfile, instance=profile)


def _locked(profile: UserProfile, using: str) -> tuple[Counters, TierMembership | None]:
    # The profile first, as everywhere: whoever holds its row is alone with the member.
    profiles = locked(UserProfile._base_manager.using(using).filter(pk=profile.pk))
    members = locked(TierMembership.objects.using(using).filter(pk=profile.pk))
    for row in profiles.values(*COUNTERS):
        return Counters(**row), next(iter(members), None)
    raise TierError(f"The profile #{profile.pk} no longer exists.")


def _moments(at: datetime | None, member: TierMembership | None, using: str) -> tuple[datetime, datetime]:
    """The database's clock, read under the locks, and the moment that counts."""
    clock = db_now(using)
    last = clock if member is None else member.last_event_at
    if at is None:
        # A clock that was set back must not make the member's last event a future one.
        return clock, max(clock, last)
    now = instant(at)
    if member is not None and now < last:
        raise TierError(f"The member's last event was at {last.isoformat()}; {now.isoformat()} is before it.")
    return clock, now


def _write(
    member: TierMembership, rows: ProgramRows, changes: Sequence[rules.Change], applied_at: datetime, using: str
) -> list[TierEvent]:
    if not changes:
        return []
    rows.write_to(member, changes)
    # Not save(): its signal would announce a second time what is announced once at the end.
    members = TierMembership.objects.using(using)
    if not members.filter(pk=member.pk).update(**rows.columns(changes)):
        members.bulk_create([member])
    return TierEvent.objects.using(using).bulk_create(rows.history(member.pk, changes, applied_at))


def _write_counters(profile: UserProfile, counters: Counters, using: str) -> None:
    UserProfile._base_manager.using(using).filter(pk=profile.pk).update(**asdict(counters))


def _announce(profile: UserProfile, trigger: str, using: str) -> None:
    profiles_changed.send(sender=TierMembership, profile_ids=[profile.pk], trigger=trigger, using=using)


def _refresh(profile: UserProfile, counters: Counters, member: TierMembership | None) -> None:
    """Bring what the caller holds up to date, so that a later ``save()`` of it takes nothing back."""
    for name, value in asdict(counters).items():
        setattr(profile, name, value)
    profile.remember_stored(COUNTERS)
    relation = UserProfile._meta.get_field("tier_membership")
    held = relation.get_cached_value(profile, default=None)
    if held is None or member is None:
        if relation.is_cached(profile):
            relation.delete_cached_value(profile)
        return
    for field in TierMembership._meta.concrete_fields:
        if not field.generated:
            setattr(held, field.attname, getattr(member, field.attname))
