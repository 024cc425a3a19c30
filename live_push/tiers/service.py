"""Apply the tier rules to a member, and push the member's profile.

Every function makes its changes in one transaction. A change of an existing member locks the profile, then the
membership, and announces the profile once in the same transaction, so that one push is recorded. Without an explicit
time, an event happens at the time of the database, but never before the member's last event.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from django.db import router, transaction

from live_push.exceptions import TierError
from live_push.models.clock import db_now
from live_push.models.profiles import UserProfile
from live_push.models.tiers import Tier, TierEvent, TierMembership
from live_push.models.transactions import locked
from live_push.rules.batched import batched
from live_push.rules.messages import Message
from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.points import COUNTER_COLUMNS, Counters, to_utc, whole_points
from live_push.signals import profiles_changed

from .rows import ProgramRows, load_programs

logger = logging.getLogger(__name__)

ROWS_PER_INSERT = 1000
"""How many members start by one INSERT statement."""


def start_members(profile_ids: Sequence[int], using: str, *, at: datetime | None = None) -> list[int]:
    """Start new members in the default program, and return the ids of the members who started.

    Members with a membership are skipped. Nothing is announced, because a new profile is pushed anyway. Without a valid
    default program no member starts and no error is raised: an unfinished program must not prevent sign-ups.
    """
    rows = _default_program(using)
    if rows is None:
        return []
    started: list[int] = []
    with transaction.atomic(using=using):
        clock = db_now(using)
        change = lifecycle.start_membership(rows.as_rules, clock if at is None else to_utc(at))
        for batch in batched(sorted(set(profile_ids)), ROWS_PER_INSERT):
            members = TierMembership.objects.using(using)
            existing = set(members.filter(pk__in=batch).values_list("pk", flat=True))
            new = [profile_id for profile_id in batch if profile_id not in existing]
            members.bulk_create(
                TierMembership(profile_id=profile_id, **rows.column_values([change])) for profile_id in new
            )
            TierEvent.objects.using(using).bulk_create(
                event for profile_id in new for event in rows.tier_events(profile_id, [change], clock)
            )
            started += new
    return started


def award_points(profile: UserProfile, points: int, *, at: datetime | None = None) -> list[TierEvent]:
    """Add points to a member's scores and counters, and return the tier events that followed.

    Expiries and resets due up to ``at`` are applied first. ``at`` is a datetime with a time zone; it defaults to now
    and must not be before the member's last event. Negative points are a correction: they lower scores and counters, to
    at least 0, and never drop the member before the expiry. For a profile without a membership, only the counters
    change.

    The profile instance and its loaded membership are updated to the stored values. Raises ``TierError``, and changes
    nothing, if the points or ``at`` are not valid, if a score or counter would get too large, or if the program is not
    valid.
    """
    points, using = whole_points(points), _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        clock, now = _moments(at, member, using)
        rows = None if member is None else _program_of(member.tier_id, using)
        events: list[TierEvent] = []
        if member is not None and rows is not None:
            changes = lifecycle.award(rows.as_rules, rows.state_of(member), points, now)
            events = _write(member, rows, changes, clock, using)
        if points:
            counters = counters.after_award(points, now, UTC if rows is None else rows.zone)
            _write_counters(profile, counters, using)
        if events or points:
            _announce(profile, "tier" if events else "updated", using)
    _refresh(profile, counters, member)
    return events


def spend_points(profile: UserProfile, points: int) -> None:
    """Subtract redeemable points. Tier scores and the other counters do not change.

    Raises ``TierError`` if ``points`` is not a whole number from 0, or if the member has fewer redeemable points.
    """
    points, using = whole_points(points, least=0), _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        counters = counters.after_spending(points)
        if points:
            _write_counters(profile, counters, using)
            _announce(profile, "updated", using)
    _refresh(profile, counters, member)


def override_tier(profile: UserProfile, tier: Tier, at: datetime | None = None) -> list[TierEvent]:
    """Put a member into a tier by hand, and return the tier events that followed.

    Expiries and resets due up to ``at`` are applied first. Then the member jumps or drops. A member without a
    membership in the tier's program starts there first.

    Raises ``TierError`` if the member is in the tier already, or if ``at`` is before the member's last event.
    """
    using = _alias(profile)
    with transaction.atomic(using=using):
        counters, member = _locked(profile, using)
        clock, now = _moments(at, member, using)
        rows = _program_of(tier.pk, using)
        state = None
        if member is None:
            member = TierMembership(profile_id=profile.pk)
        elif rows.has_tier(member.tier_id):
            state = rows.state_of(member)
        changes = lifecycle.override(rows.as_rules, state, rows.level_of(tier.pk), now)
        events = _write(member, rows, changes, clock, using)
        _announce(profile, "tier", using)
    _refresh(profile, counters, member)
    return events


def _default_program(using: str) -> ProgramRows | None:
    for rows in load_programs(using, program__is_default=True):
        try:
            _ = rows.as_rules
        except TierError as error:
            logger.warning("New members can't start in the default tier program: %s", error)
        else:
            return rows
    return None


def _program_of(tier_id: int, using: str) -> ProgramRows:
    for rows in load_programs(using, program__tiers=tier_id):
        return rows
    raise TierError(Message("tier_gone", tier=tier_id))


def _alias(profile: UserProfile) -> str:
    if not isinstance(profile, UserProfile) or profile.pk is None:
        raise TierError(Message("profile_not_saved", profile=repr(profile)))
    return router.db_for_write(UserProfile, instance=profile)


def _locked(profile: UserProfile, using: str) -> tuple[Counters, TierMembership | None]:
    # Lock the profile before the membership, as all code does: its lock also protects the membership.
    profiles = locked(UserProfile._base_manager.using(using).filter(pk=profile.pk))
    members = locked(TierMembership.objects.using(using).filter(pk=profile.pk))
    for row in profiles.values(*COUNTER_COLUMNS):
        return Counters(**row), next(iter(members), None)
    raise TierError(Message("profile_gone", profile=profile.pk))


def _moments(at: datetime | None, member: TierMembership | None, using: str) -> tuple[datetime, datetime]:
    """Return the time of the database, read under the locks, and the time of the event."""
    clock = db_now(using)
    last = clock if member is None else member.last_event_at
    if at is None:
        # If the clock was set back, the event still must not be dated before the member's last event.
        return clock, max(clock, last)
    now = to_utc(at)
    if member is not None and now < last:
        raise TierError(Message("event_order", last=last.isoformat(), moment=now.isoformat()))
    return clock, now


def _write(
    member: TierMembership, rows: ProgramRows, changes: Sequence[lifecycle.Change], applied_at: datetime, using: str
) -> list[TierEvent]:
    if not changes:
        return []
    rows.write_to(member, changes)
    # Do not call save(): its signal would announce the profile, which the caller announces once at the end.
    members = TierMembership.objects.using(using)
    if not members.filter(pk=member.pk).update(**rows.column_values(changes)):
        members.bulk_create([member])
    return TierEvent.objects.using(using).bulk_create(rows.tier_events(member.pk, changes, applied_at))


def _write_counters(profile: UserProfile, counters: Counters, using: str) -> None:
    UserProfile._base_manager.using(using).filter(pk=profile.pk).update(**asdict(counters))


def _announce(profile: UserProfile, trigger: str, using: str) -> None:
    profiles_changed.send(sender=TierMembership, profile_ids=[profile.pk], trigger=trigger, using=using)


def _refresh(profile: UserProfile, counters: Counters, member: TierMembership | None) -> None:
    """Update the caller's instances to the stored values, so that saving them later does not undo the changes."""
    for name, value in asdict(counters).items():
        setattr(profile, name, value)
    profile.remember_stored(COUNTER_COLUMNS)
    relation = UserProfile._meta.get_field("tier_membership")
    loaded = relation.get_cached_value(profile, default=None)
    if loaded is None or member is None:
        if relation.is_cached(profile):
            relation.delete_cached_value(profile)
        return
    for field in TierMembership._meta.concrete_fields:
        if not field.generated:
            setattr(loaded, field.attname, getattr(member, field.attname))
