"""Record changes: in the transaction of a change, insert one push, and one delivery for each receiving endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.models import Case, F, Value, When

from live_push.contract.encoding import load
from live_push.contract.tier_info import tier_event
from live_push.models import Priority, Push, PushTrigger, TierMembership, UserProfile
from live_push.rules.batched import batched

from . import announce, dialect, resend, snapshots
from .fan_out import NewPush, fan_out, insert_and_fan_out

SNAPSHOTS_AT_MOST = 1000
"""A bulk write of more profiles would take too long if it built their snapshots: its pushes get their bodies later."""


def record(
    profile_ids: Sequence[int],
    trigger: str,
    *,
    using: str,
    after_commit: Callable[[], None] | None = None,
    is_stepped: bool = False,
    bulk_priority: Priority = Priority.RESEND,
) -> None:
    """Record that profiles changed. ``is_stepped`` says that the write itself has already advanced their sequences.

    Above :data:`SNAPSHOTS_AT_MOST` profiles, the pushes have no body until they are first sent, and the deliveries have
    the ``bulk_priority``. Otherwise they are live.

    One transaction records at most one push for each profile: a later change replaces the body of the push. The number
    of statements does not depend on the number of endpoints. ``after_commit`` is called once for each transaction,
    after its commit.
    """
    ids = sorted(set(profile_ids))
    with transaction.atomic(using=using, savepoint=False):
        memory = _Memory.of_transaction(using, after_commit)
        for batch in batched(ids, resend.ROWS_PER_STATEMENT):
            if not is_stepped:
                _advance(batch, using=using)
            if len(ids) > SNAPSHOTS_AT_MOST:
                resend.record(batch, using=using, trigger=trigger, priority=bulk_priority)
            else:
                _record_snapshots(batch, trigger, memory, using=using)


def begin_anew(*, using: str) -> None:
    """Act as if the open transaction had been committed: record the next change of a profile as a new push.

    For tests, which run several transactions of the host project inside one.
    """
    for _savepoints, hook, *_ in connections[using].run_on_commit:
        if isinstance(hook, _Memory):
            hook.over = True


class _Memory:
    """The event ids of the pushes that the open transaction has recorded, by profile id.

    It is one of the transaction's commit hooks. So it disappears when the transaction ends, or when the savepoint in
    which it was added is rolled back.
    """

    def __init__(self, after_commit: Callable[[], None] | None) -> None:
        self.event_ids: dict[int, uuid.UUID] = {}
        self.after_commit = after_commit
        self.over = False
        # If the hook raises an exception, Django logs this name.
        self.__qualname__ = type(self).__qualname__

    def __call__(self) -> None:
        self.over = True
        if self.after_commit is not None:
            self.after_commit()

    @classmethod
    def of_transaction(cls, using: str, after_commit: Callable[[], None] | None) -> _Memory:
        # If the host project commits by hand, Django keeps the hooks after the commit. A remembered push would then
        # belong to an earlier transaction.
        if connections[using].commit_on_exit:
            for _savepoints, hook, *_ in connections[using].run_on_commit:
                if isinstance(hook, cls) and not hook.over:
                    return hook
        memory = cls(after_commit)
        # Robust, because an exception while waking an engine must not make the caller's commit look failed.
        transaction.on_commit(memory, using=using, robust=True)
        return memory


def _advance(profile_ids: Sequence[int], *, using: str) -> None:
    """Write what a save writes itself: the next sequence, and the time of the change."""
    values: dict[str, Any] = {}
    table = connections[using].ops.quote_name(UserProfile._meta.db_table)
    sequence = dialect.next_sequence(values, "push_sequence", using=using)
    now = dialect.time_of_database(values, "now", using=using)
    # MariaDB assigns from left to right, so push_sequence comes after the column that is computed from it.
    changes = f"changed_sequence = {sequence}, push_sequence = {sequence}, date_last_updated = {now}"
    condition = dialect.any_of(values, "id", profile_ids, using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {changes} WHERE {condition}", values)  # noqa: S608  (our own words)


def _record_snapshots(profile_ids: Sequence[int], trigger: str, memory: _Memory, *, using: str) -> None:
    rows = snapshots.read_rows(profile_ids, using=using)
    new: list[NewPush] = []
    failed: list[uuid.UUID] = []
    for profile_id, row in rows.items():
        own = memory.event_ids.get(profile_id)
        kept_event = _kept_tier_event(own, row["tier_assigned_by_event"], using=using) if own else None
        if kept_event not in (None, row["tier_assigned_by_event"]):
            # Store the event that is sent, so that the stored state and the accepted snapshot do not differ.
            TierMembership.objects.using(using).filter(pk=profile_id).update(assigned_by_event=kept_event)
        snapshot = snapshots.build_snapshot(row, using=using, tier_event=kept_event)
        replaced = own is not None and _replace(own, snapshot, trigger, using=using)
        event_id = own if own and replaced else uuid.uuid4()
        if snapshot.error:
            failed.append(event_id)
        if replaced:
            continue
        memory.event_ids[profile_id] = event_id
        new.append(
            NewPush(
                event_id=event_id,
                profile_id=profile_id,
                sequence=snapshot.sequence,
                trigger=trigger,
                payload=snapshot.payload,
                digest=snapshot.digest,
                error=snapshot.error,
                created_at=row["now"],
            )
        )
    if new:
        insert_and_fan_out(new, using=using)
    if failed:
        announce.announce_failed_after_commit(push__event_id__in=failed, using=using)


def _replace(event_id: uuid.UUID, snapshot: snapshots.Snapshot, trigger: str, *, using: str) -> bool:
    """Replace the body of a push of this transaction. Return false if a rollback to a savepoint removed the push."""
    own = Push.objects.using(using).filter(event_id=event_id)
    written: dict[str, Any] = {"sequence": snapshot.sequence, "payload": snapshot.payload}
    if trigger == PushTrigger.TIER:
        # The body now contains a tier event. With this trigger, _kept_tier_event() keeps it if a score update follows.
        mere_saves = When(trigger__in=[PushTrigger.UPDATED, PushTrigger.USER], then=Value(PushTrigger.TIER))
        written["trigger"] = Case(mere_saves, default=F("trigger"))
    replaced = own.update(**written, digest=snapshot.digest, error=snapshot.error)
    if not replaced:
        return False
    push_id = own.values_list("pk", flat=True).get()
    # Insert the deliveries again, because their position and state depend on the push. They are not committed yet.
    fan_out([push_id], using=using, anew=True)
    return True


def _kept_tier_event(event_id: uuid.UUID, event: str | None, *, using: str) -> str | None:
    """Return the tier event of the transaction's earlier push, if the current event is only a score update.

    So a score update does not hide a start, jump, drop, maintain or reset of the same transaction.
    """
    if event != "update":
        return None
    own = Push.objects.using(using).filter(event_id=event_id, trigger__in=[PushTrigger.CREATED, PushTrigger.TIER])
    body = own.values_list("payload", flat=True).first()
    return None if body is None else tier_event(load(body))
