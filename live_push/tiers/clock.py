"""Apply the tier rules to many members, batch by batch.

Two things change many members: expiries and resets that have become due, and an edited tier program. Each batch is one
transaction, and only one batch is in memory. A change that was applied is not due any more, so the next run continues
after a killed one, and a second run changes nothing. Changes applied late keep the date at which they were due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet

from live_push.exceptions import TierError
from live_push.models.clock import db_now
from live_push.models.profiles import UserProfile
from live_push.models.tiers import TierEvent, TierMembership, TierProgram
from live_push.models.transactions import locked
from live_push.rules.messages import message_of
from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.points import to_utc
from live_push.signals import profiles_changed

from .rows import ProgramRows, load_programs

MEMBERS_PER_BATCH = 500
"""Default size of a batch: how many members are locked by one transaction."""

WRITTEN_COLUMNS = [
    item.name for item in TierMembership._meta.concrete_fields if not item.generated and not item.primary_key
]
"""The columns of a membership that a batch writes."""

Rule = Callable[[lifecycle.Program, lifecycle.Membership, datetime], Sequence[lifecycle.Change]]
"""A function that returns the changes for a program, a membership and the time of its last event."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one batch; in a dry run, what the batch would have done.

    ``looked_at``
        The number of members that were examined.
    ``changed``
        The number of members that changed.
    ``events``
        The events of these members, in order.
    ``problems``
        One sentence for each program that is not valid, by the program's name. Its members were not changed.
    """

    looked_at: int
    changed: int = 0
    events: list[TierEvent] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def apply_due(now: datetime | None = None, *, using: str | None = None, batch_size: int = MEMBERS_PER_BATCH) -> int:
    """Apply every expiry and reset due up to ``now``, and return the number of members that changed.

    ``now`` defaults to the time of the database. If a program is not valid, the members of all other programs are
    processed, then ``TierError`` is raised.
    """
    changed = 0
    problems: dict[str, str] = {}
    for batch in due_batches(now, using=using, batch_size=batch_size):
        changed += batch.changed
        problems |= batch.problems
    if problems:
        raise TierError(" ".join(problems.values()))
    return changed


def due_members(now: datetime, *, using: str | None = None) -> QuerySet[TierMembership]:
    """Return the memberships with an expiry or a reset up to and including ``now``, in order of that date."""
    return TierMembership.objects.using(_alias(using)).due(now)


def due_batches(
    now: datetime | None = None,
    *,
    dry_run: bool = False,
    using: str | None = None,
    batch_size: int = MEMBERS_PER_BATCH,
) -> Iterator[Batch]:
    """Apply the expiries and resets due up to ``now``, and yield the result of each batch.

    Members that have been due for longest come first. A dry run writes nothing and takes no locks.
    """
    using = _alias(using)
    until = db_now(using) if now is None else to_utc(now)

    def changes_due(
        program: lifecycle.Program, membership: lifecycle.Membership, last_event_at: datetime
    ) -> Sequence[lifecycle.Change]:
        return list(lifecycle.due(program, membership, until))

    members = due_members(until, using=using)
    page = members
    # Continue after the last row of a batch. Reading the first rows again would never end, because the members of a
    # program that is not valid stay due.
    while keys := list(page.values_list("next_due_at", "pk")[:batch_size]):
        yield _apply([pk for _, pk in keys], changes_due, dry_run=dry_run, using=using)
        last_due_at, last_pk = keys[-1]
        page = members.filter(Q(next_due_at__gt=last_due_at) | Q(pk__gt=last_pk), next_due_at__gte=last_due_at)


def reevaluation_batches(
    program: TierProgram,
    *,
    now: datetime | None = None,
    dry_run: bool = False,
    using: str | None = None,
    batch_size: int = MEMBERS_PER_BATCH,
) -> Iterator[Batch]:
    """Apply an edited program to its members, and yield the result of each batch.

    Expiries and resets that are due are applied first. Only members that change are pushed. If the program is not
    valid, the only batch has the problem. A dry run writes nothing and takes no locks.
    """
    using = _alias(using)
    if problem := _problem_of(program, using):
        yield Batch(looked_at=0, problems={program.name: problem})
        return
    at = db_now(using) if now is None else to_utc(now)

    def changes_by_edit(
        edited: lifecycle.Program, membership: lifecycle.Membership, last_event_at: datetime
    ) -> Sequence[lifecycle.Change]:
        # A member's events are in order of time, so a change must not be dated before the last event.
        return lifecycle.reevaluate(edited, membership, max(at, last_event_at))

    members = TierMembership.objects.using(using).filter(tier__program=program).order_by("pk")
    last_pk = 0
    while ids := list(members.filter(pk__gt=last_pk).values_list("pk", flat=True)[:batch_size]):
        yield _apply(ids, changes_by_edit, dry_run=dry_run, using=using)
        last_pk = ids[-1]


def _problem_of(program: TierProgram, using: str) -> str:
    """Return why the program is not valid; empty if it is valid. Works for programs without tiers or members, too."""
    rows = next(iter(load_programs(using, program=program)), ProgramRows(program, ()))
    try:
        _ = rows.as_rules
    except TierError as error:
        return message_of(error)
    return ""


def _apply(profile_ids: Sequence[int], rule: Rule, *, dry_run: bool, using: str) -> Batch:
    if dry_run:
        members = TierMembership.objects.using(using).filter(pk__in=profile_ids).order_by("pk")
        return _evaluate(list(members), rule, using, len(profile_ids))[0]
    with transaction.atomic(using=using):
        # Lock the profiles before the memberships, in order of their ids, as all code does. So no other transaction
        # changes these members, and two runs can't deadlock.
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids).order_by("pk")
        list(locked(profiles).values_list("pk", flat=True))
        members = TierMembership.objects.using(using).filter(pk__in=profile_ids).order_by("pk")
        batch, changed = _evaluate(list(locked(members)), rule, using, len(profile_ids))
        if changed:
            _write(changed, batch.events, using)
    return batch


def _evaluate(
    members: Sequence[TierMembership], rule: Rule, using: str, looked_at: int
) -> tuple[Batch, list[TierMembership]]:
    """Apply the rule to the members in memory; return the batch and the changed members, not yet saved."""
    rows_by_tier: dict[int, ProgramRows] = {tier.pk: rows for rows in load_programs(using) for tier in rows.tiers}
    applied_at = db_now(using)
    events: list[TierEvent] = []
    problems: dict[str, str] = {}
    changed: list[TierMembership] = []
    for member in members:
        rows = rows_by_tier[member.tier_id]
        try:
            changes = rule(rows.as_rules, rows.state_of(member), member.last_event_at)
        except TierError as error:
            problems[rows.program.name] = message_of(error)
            continue
        if changes:
            rows.write_to(member, changes)
            changed.append(member)
            events += rows.tier_events(member.pk, changes, applied_at)
    return Batch(looked_at=looked_at, changed=len(changed), events=events, problems=problems), changed


def _write(changed: list[TierMembership], events: list[TierEvent], using: str) -> None:
    # Update by an upsert, although all rows exist and are locked: its statement has one list of values, while
    # bulk_update would send a CASE expression for every column.
    target = ["pk"] if connections[using].features.supports_update_conflicts_with_target else None
    TierMembership.objects.using(using).bulk_create(
        changed, update_conflicts=True, unique_fields=target, update_fields=WRITTEN_COLUMNS
    )
    TierEvent.objects.using(using).bulk_create(events)
    ids = [member.pk for member in changed]
    profiles_changed.send(sender=TierMembership, profile_ids=ids, trigger="tier", using=using)


def _alias(using: str | None) -> str:
    return using or router.db_for_write(TierMembership)
