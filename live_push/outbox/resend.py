"""Pushes without a body: "the current state, whatever it is when you get there"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from django.db import connections, transaction
from django.db.models import Count, F, Max, QuerySet
from django.db.models.functions import Greatest

from live_push.chunks import chunks
from live_push.models import Delivery, DeliveryStatus, Priority, Push, PushTrigger, UserProfile
from live_push.models.clock import DbNowMs, db_now
from live_push.models.locking import locked

from . import erase, snapshots
from .event_ids import EventIds
from .fan_out import MOMENT, fan_out

ROWS_PER_STATEMENT = 10_000
"""Profiles resent by one statement, and so in one transaction: enough to be fast, few enough to hold up nobody."""

_INSERT = """
INSERT INTO {push} (event_id, profile_id, {trigger}, digest, error, created_at)
SELECT {event_id}, id, %s, '', '', CAST(%s AS {moment}) FROM ({profiles}) p
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Some consecutive profiles of a selection: above one primary key, up to another."""

    profiles: QuerySet[UserProfile]
    last_id: int
    count: int


def spans(profiles: QuerySet[UserProfile], size: int = ROWS_PER_STATEMENT) -> Iterator[Span]:
    """A selection cut into spans of so many profiles, one query each, whatever their number in all."""
    after = None
    while True:
        rest = profiles.order_by("pk") if after is None else profiles.filter(pk__gt=after).order_by("pk")
        found = rest.values("pk")[:size].aggregate(last_id=Max("pk"), count=Count("pk"))
        if not found["count"]:
            return
        yield Span(rest.filter(pk__lte=found["last_id"]), found["last_id"], found["count"])
        after = found["last_id"]


def record(
    profile_ids: Sequence[int],
    *,
    using: str,
    trigger: str = PushTrigger.RESEND,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
) -> int:
    """Record one body-less push for each profile; returns the number of deliveries.

    Such a push is ordered last for its pair, and gives way to any newer push.
    """
    deliveries = 0
    with transaction.atomic(using=using, savepoint=False):
        for some in chunks(profile_ids, ROWS_PER_STATEMENT):
            profiles = UserProfile._base_manager.using(using).filter(pk__in=some)
            deliveries += record_selected(
                profiles, using=using, trigger=trigger, endpoint_ids=endpoint_ids, due_at=due_at
            )
    return deliveries


def record_selected(
    profiles: QuerySet[UserProfile],
    *,
    using: str,
    trigger: str = PushTrigger.RESEND,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
) -> int:
    """The same for at most some ten thousand profiles that the database itself looks up: none passes through here."""
    if endpoint_ids == []:
        return 0
    connection = connections[using]
    quote = connection.ops.quote_name
    ids = EventIds(connection.vendor)
    event_id, parts = ids.for_each_row
    selected, parameters = profiles.order_by().values("id").query.get_compiler(using=using).as_sql()
    if connection.vendor == "postgresql":
        # Its own check comes with the commit, too late for a member who is being deleted. It holds up no save.
        selected += f" FOR KEY SHARE OF {quote(UserProfile._meta.db_table)}"
    sql = _INSERT.format(
        push=quote(Push._meta.db_table),
        trigger=quote("trigger"),
        event_id=event_id,
        moment=MOMENT[connection.vendor],
        profiles=selected,
    )
    with transaction.atomic(using=using, savepoint=False), _waiting_for_nobody(using):
        now = connection.ops.adapt_datetimefield_value(db_now(using))
        with connection.cursor() as cursor:
            cursor.execute(sql, [*parts, trigger, now, *parameters])
            if not cursor.rowcount:
                return 0
        return fan_out(ids, using=using, priority=Priority.RESEND, endpoint_ids=endpoint_ids, due_at=due_at)


def _waiting_for_nobody(using: str) -> AbstractContextManager[None]:
    """To check its constraints MariaDB would lock the row of each profile, and saves would fail in the deadlock.

    All it refers to was selected by the statement itself. A member who is deleted meanwhile is found at the drawing.
    """
    connection = connections[using]
    return connection.constraint_checks_disabled() if connection.vendor == "mysql" else nullcontext()


def draw(push_ids: Sequence[int], *, using: str) -> None:
    """Give body-less pushes their sequence and body, in one step under the rows of their profiles.

    Afterwards they are like any other push: every later attempt, and every other endpoint, gets the same body. A resend
    is no update of the profile, so ``date_last_updated`` stays.
    """
    if not push_ids:
        return
    with transaction.atomic(using=using):
        waiting = Push.objects.using(using).filter(pk__in=push_ids, sequence=None, profile__isnull=False)
        profile_ids = sorted(set(waiting.values_list("profile_id", flat=True)))
        profiles = UserProfile._base_manager.using(using).filter(pk__in=profile_ids)
        # The rows are locked in the order of their ids before anything is written, so that two workers can't deadlock.
        list(locked(profiles).order_by("pk").values_list("pk"))
        profiles.update(push_sequence=Greatest(F("push_sequence") + 1, DbNowMs()))
        rows = snapshots.read(profile_ids, using=using)
        gone = {*profile_ids} - rows.keys()
        if gone:
            erase.forget(gone, using=using)
        for push in locked(waiting).order_by("pk"):
            _fill(push, snapshots.build(rows[push.profile_id or 0], using=using), using=using)


def _fill(push: Push, snapshot: snapshots.Snapshot, *, using: str) -> None:
    push.sequence, push.payload = snapshot.sequence, snapshot.payload
    push.digest, push.error = snapshot.digest, snapshot.error
    push.save(using=using, update_fields=["sequence", "payload", "digest", "error"])
    Delivery.objects.using(using).filter(push=push, status__in=[DeliveryStatus.PENDING, DeliveryStatus.SENDING]).update(
        position=snapshot.sequence
    )
