"""Applies the tier rules to many members: what is due, and what an edited ladder changes.

A batch is one transaction, and nothing but a batch is held in memory. What was applied is not due again: a run that was
killed is resumed by the next one, late instants keep their own dates, and a second run changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet

from live_push.exceptions import TierError
from live_push.models.clock import db_now
from live_push.models.locking import locked
from live_push.models.profiles import UserProfile
from live_push.models.tiers import TierEvent, TierMembership, TierProgram
from live_push.signals import profiles_changed

from . import rules
from .points import instant
from .rows import ProgramRows, programs

MEMBERS_PER_BATCH = 500

WRITTEN = [item.name for item in TierMembership._meta.concrete_fields if not item.generated and not item.primary_key]

# Of a program, a membership and its last event.
Judge = Callable[[rules.Program, rules.Membership, datetime], Sequence[rules.Change]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did, or would do: members looked at, members changed, their events in order, what went wrong.

    ``problems`` has one sentence for each program that is no ladder; its members stay as they are.
    """

    looked_at: int
    changed: int = 0
    events: list[TierEvent] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def apply_due(now: datetime | None = None, *, using: str | None = None, batch_size: int = MEMBERS_PER_BATCH) -> int:
    """Apply every expiry and reset due up to ``now``, by default the database's; returns how many members changed.

    Raises ``TierError`` after the rest is done where a program is no ladder.
    """
    return _run(due_batches(now, using=using, batch_size=batch_size))


def reevaluate(
    program: TierProgram, *, dry_run: bool = False, using: str | None = None, batch_size: int = MEMBERS_PER_BATCH
) -> int:
    """Apply an edited program to its members and return how many change, or would change; pushes only those.

    What is due comes first. Raises ``TierError`` where the program is no ladder.
    """
    return _run(reevaluation_batches(program, dry_run=dry_run, using=using, batch_size=batch_size))


def due_members(now: datetime, *, using: str | None = None) -> QuerySet[TierMembership]:
    """The memberships whose expiry or reset has come."""
    return TierMembership.objects.using(_alias(using)).due(now)


def due_batches(
    now: datetime | None = None,
    *,
    dry_run: bool = False,
    using: str | None = None,
    batch_size: int = MEMBERS_PER_BATCH,
) -> Iterator[Batch]:
    """Apply what is due batch by batch, the longest due first; a dry run writes and locks nothing."""
    using = _alias(using)
    until = db_now(using) if now is None else instant(now)

    def judge(program: rules.Program, membership: rules.Membership, last: datetime) -> Sequence[rules.Change]:
        return list(rules.due(program, membership, until))

    members = due_members(until, using=using)
    page = members
    # Not OFFSET, and not "the first ones again": members of a program that is no ladder stay due.
    while places := list(page.values_list("next_due_at", "pk")[:batch_size]):
        yield _apply([pk for _, pk in places], judge, dry_run=dry_run, using=using)
        instant_reached, pk_reached = places[-1]
        page = members.filter(
            Q(next_due_at__gt=instant_reached) | Q(pk__gt=pk_reached), next_due_at__gte=instant_reached
        )


def reevaluation_batches(
    program: TierProgram,
    *,
    now: datetime | None = None,
    dry_run: bool = False,
    using: str | None = None,
    batch_size: int = MEMBERS_PER_BATCH,
) -> Iterator[Batch]:
    """Apply an edited program to its members batch by batch; a dry run writes and locks nothing."""
    using = _alias(using)
    if problem := _problem_of(program, using):
        yield Batch(looked_at=0, problems={program.name: problem})
        return
    at = db_now(using) if now is None else instant(now)

    def judge(edited: rules.Program, membership: rules.Membership, last: datetime) -> Sequence[rules.Change]:
        # Nothing happens to a member before what happened last, also where the moment is an earlier one.
        return rules.reevaluate(edited, membership, max(at, last))

    members = TierMembership.objects.using(using).filter(tier__program=program).order_by("pk")
    reached = 0
    while ids := list(members.filter(pk__gt=reached).values_list("pk", flat=True)[:batch_size]):
        yield _apply(ids, judge, dry_run=dry_run, using=using)
        reached = ids[-1]


def _problem_of(program: TierProgram, using: str) -> str:
    """Why a program is no ladder, also where it has no member yet; empty where it is one."""
    rows = next(iter(programs(using, program=program)), ProgramRows(program, ()))
    try:
        _ = rows.as_rules
    except TierError as error:
        return str(error)
    return ""


def _apply(profile_ids: Sequence[int], judge: Judge, *, dry_run: bool, using: str) -> Batch:
    if dry_run:
        members = TierMembership.objects.using(using).filter(pk__in=profile_ids).order_by("pk")
        return _judged(list(members), judge, using, len(profile_ids))[0]
    with transaction.atomic(using=using):
        # Profiles first and in order, as everywhere: no other change of theirs is under way, nor can two runs deadlock.
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids).order_by("pk")
        list(locked(profiles).values_list("pk", flat=True))
        members = TierMembership.objects.using(using).filter(pk__in=profile_ids).order_by("pk")
        batch, changed = _judged(list(locked(members)), judge, using, len(profile_ids))
        if changed:
            _write(changed, batch.events, using)
    return batch


def _judged(
    members: Sequence[TierMembership], judge: Judge, using: str, looked_at: int
) -> tuple[Batch, list[TierMembership]]:
    rows_by_tier: dict[int, ProgramRows] = {tier.pk: rows for rows in programs(using) for tier in rows.tiers}
    applied_at = db_now(using)
    events: list[TierEvent] = []
    problems: dict[str, str] = {}
    changed: list[TierMembership] = []
    for member in members:
        rows = rows_by_tier[member.tier_id]
        try:
            changes = judge(rows.as_rules, rows.state_of(member), member.last_event_at)
        except TierError as error:
            problems[rows.program.name] = str(error)
            continue
        if changes:
            rows.write_to(member, changes)
            changed.append(member)
            events += rows.history(member.pk, changes, applied_at)
    return Batch(looked_at=looked_at, changed=len(changed), events=events, problems=problems), changed


def _write(changed: list[TierMembership], events: list[TierEvent], using: str) -> None:
    # An upsert of rows that exist and are locked: one VALUES list, where bulk_update would send a CASE for every cell.
    target = ["pk"] if connections[using].features.supports_update_conflicts_with_target else None
    TierMembership.objects.using(using).bulk_create(
        changed, update_conflicts=True, unique_fields=target, update_fields=WRITTEN
    )
    TierEvent.objects.using(using).bulk_create(events)
    ids = [member.pk for member in changed]
    profiles_changed.send(sender=TierMembership, profile_ids=ids, trigger="tier", using=using)


def _run(batches: Iterator[Batch]) -> int:
    changed = 0
    problems: dict[str, str] = {}
    for batch in batches:
        changed += batch.changed
        problems |= batch.problems
    if problems:
        raise TierError(" ".join(problems.values()))
    return changed


def _alias(using: str | None) -> str:
    return using or router.db_for_write(TierMembership)
