"""A change becomes one push and one delivery per active endpoint, in the change's own transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connections, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Greatest

from live_push.chunks import chunks
from live_push.contract.payload import load, tier_event
from live_push.models import Push, PushTrigger, TierMembership, UserProfile
from live_push.models.clock import DbNow, DbNowMs, is_stopped

from . import failures, resend, snapshots
from .compiled import IDS, Compiled
from .compiled_insert import CompiledInsert
from .fan_out import fan_out

# Above this a bulk write records pushes without bodies: building a million snapshots is no part of anybody's UPDATE.
SNAPSHOTS_AT_MOST = 1000

NEXT_SEQUENCE = Greatest(F("push_sequence") + 1, DbNowMs())
"""Strictly increasing per profile, and by the clock, so that a restored backup or a reused id never falls back."""


def record(
    profile_ids: Sequence[int], trigger: str, *, using: str, after_commit: Callable[[], None] | None = None
) -> None:
    """Record that profiles changed.

    Statements do not grow with the number of endpoints. One transaction records at most one push a profile: a later
    change in it replaces the body of its own push. ``after_commit`` is called once per transaction, after its commit.
    """
    ids = sorted(set(profile_ids))
    with transaction.atomic(using=using, savepoint=False):
        memory = _Memory.of_transaction(using, after_commit)
        for some in chunks(ids, resend.ROWS_PER_STATEMENT):
            _advance(some, using=using)
            if len(ids) > SNAPSHOTS_AT_MOST:
                resend.record(some, using=using, trigger=trigger)
            else:
                _record_snapshots(some, trigger, memory, using=using)


def begin_anew(*, using: str) -> None:
    """Go on as though the open transaction had been committed here: the next change of a profile is a new push.

    For tests, which run in one transaction what the project would commit bit by bit.
    """
    for _savepoints, hook, *_ in connections[using].run_on_commit:
        if isinstance(hook, _Memory):
            hook.over = True


class _Memory:
    """The pushes that this transaction has recorded, by profile.

    It lives in the transaction's own list of commit hooks, so that it ends with the transaction, whichever way that
    ends, and is forgotten with a savepoint that is rolled back.
    """

    def __init__(self, after_commit: Callable[[], None] | None) -> None:
        self.event_ids: dict[int, uuid.UUID] = {}
        self.after_commit = after_commit
        self.over = False
        # Django names a hook that raised by this.
        self.__qualname__ = type(self).__qualname__

    def __call__(self) -> None:
        self.over = True
        if self.after_commit is not None:
            self.after_commit()

    @classmethod
    def of_transaction(cls, using: str, after_commit: Callable[[], None] | None) -> _Memory:
        # Where the host commits by hand, Django keeps the hooks beyond the commit: nothing is remembered there.
        if connections[using].commit_on_exit:
            for _savepoints, hook, *_ in connections[using].run_on_commit:
                if isinstance(hook, cls) and not hook.over:
                    return hook
        memory = cls(after_commit)
        # Robust: whatever waking an engine raises, the caller's commit has succeeded.
        transaction.on_commit(memory, using=using, robust=True)
        return memory


def _advance(profile_ids: Sequence[int], *, using: str) -> None:
    # A clock that is stopped is part of the statement's text.
    (_next.__wrapped__ if is_stopped() else _next)(using).run([*profile_ids])


@lru_cache(maxsize=8)
def _next(using: str) -> Compiled:
    # changed_sequence first: MariaDB assigns from left to right and would see the new push_sequence.
    written = {"changed_sequence": NEXT_SEQUENCE, "push_sequence": NEXT_SEQUENCE, "date_last_updated": DbNow()}
    return Compiled(UserProfile._base_manager.filter(pk__in=IDS), IDS, using=using, written=written)


def _record_snapshots(profile_ids: Sequence[int], trigger: str, memory: _Memory, *, using: str) -> None:
    rows = snapshots.read(profile_ids, using=using)
    new: list[Push] = []
    failed: list[uuid.UUID] = []
    for profile_id, row in rows.items():
        own = memory.event_ids.get(profile_id)
        kept_event = _kept_tier_event(own, row["tier_assigned_by_event"], using=using) if own else None
        if kept_event not in (None, row["tier_assigned_by_event"]):
            # The row says what is told: else whoever compares the two would find a client that lacks something.
            TierMembership.objects.using(using).filter(pk=profile_id).update(assigned_by_event=kept_event)
        snapshot = snapshots.build(row, using=using, tier_event=kept_event)
        replaced = own is not None and _replace(own, snapshot, trigger, using=using)
        event_id = own if own and replaced else uuid.uuid4()
        if snapshot.error:
            failed.append(event_id)
        if replaced:
            continue
        memory.event_ids[profile_id] = event_id
        new.append(
            Push(
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
        fan_out(_insert(new, using=using), using=using)
    if failed:
        failures.tell_after_commit(push__event_id__in=failed, using=using)


def _insert(pushes: list[Push], *, using: str) -> list[int]:
    _new(using).run(pushes)
    if None not in (ids := [push.pk for push in pushes]):
        return ids
    # MySQL tells no keys.
    event_ids = [push.event_id for push in pushes]
    return list(Push.objects.using(using).filter(event_id__in=event_ids).values_list("pk", flat=True))


@lru_cache(maxsize=8)
def _new(using: str) -> CompiledInsert:
    return CompiledInsert(Push, using=using)


def _replace(event_id: uuid.UUID, snapshot: snapshots.Snapshot, trigger: str, *, using: str) -> bool:
    """Give this transaction's own push the newer body; false where a savepoint's rollback took the push away."""
    own = Push.objects.using(using).filter(event_id=event_id)
    written: dict[str, Any] = {"sequence": snapshot.sequence, "payload": snapshot.payload}
    if trigger == PushTrigger.TIER:
        # From now on the body tells an event of this very commit, which a later score update must not hide.
        mere_saves = When(trigger__in=[PushTrigger.UPDATED, PushTrigger.USER], then=Value(PushTrigger.TIER))
        written["trigger"] = Case(mere_saves, default=F("trigger"))
    replaced = own.update(**written, digest=snapshot.digest, error=snapshot.error)
    if not replaced:
        return False
    push_id = own.values_list("pk", flat=True).get()
    # The deliveries are as uncommitted as the push: made anew, they take on its sequence and whether it can be sent.
    fan_out([push_id], using=using, anew=True)
    return True


def _kept_tier_event(event_id: uuid.UUID, event: str | None, *, using: str) -> str | None:
    """Within one commit a mere score update never hides the start, jump, drop, maintain or reset before it."""
    if event != "update":
        return None
    own = Push.objects.using(using).filter(event_id=event_id, trigger__in=[PushTrigger.CREATED, PushTrigger.TIER])
    body = own.values_list("payload", flat=True).first()
    return None if body is None else tier_event(load(body))
