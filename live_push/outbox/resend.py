"""Record resends: pushes without a body, which get the profile's current state when they are first sent.

A selection of profiles may be large, so it is cut into spans, and one statement records the pushes of each span.
:mod:`~live_push.outbox.draw` gives the pushes their bodies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from django.db import connections, transaction
from django.db.models import Count, Max, QuerySet

from live_push.models import ClientEndpoint, Priority, Push, PushTrigger, UserProfile
from live_push.models.clock import db_now
from live_push.rules.batched import batched

from .event_ids import EventIds
from .fan_out import TIMESTAMP_TYPES, fan_out, only_these
from .sql import audience_holds

ROWS_PER_STATEMENT = 10_000
"""How many profiles one statement resends, in one transaction. More would be faster, but hold locks for longer."""

_INSERT = """
INSERT INTO {push} (event_id, profile_id, {trigger}, digest, error, created_at)
SELECT {event_id}, id, %s, '', '', CAST(%s AS {moment}) FROM ({profiles}) p
WHERE EXISTS (SELECT 1 FROM {endpoint} e WHERE e.is_active{only} AND {audience})
"""


@dataclass(frozen=True, slots=True)
class Span:
    """The profiles of a selection in a range of primary keys, which ends with ``last_id``."""

    profiles: QuerySet[UserProfile]
    last_id: int
    count: int


def spans(profiles: QuerySet[UserProfile], size: int = ROWS_PER_STATEMENT) -> Iterator[Span]:
    """Cut a selection of profiles into spans of at most ``size`` profiles. Each span costs one query."""
    after = None
    while True:
        rest = profiles.order_by("pk") if after is None else profiles.filter(pk__gt=after).order_by("pk")
        span = rest.values("pk")[:size].aggregate(last_id=Max("pk"), count=Count("pk"))
        if not span["count"]:
            return
        yield Span(rest.filter(pk__lte=span["last_id"]), span["last_id"], span["count"])
        after = span["last_id"]


def record(
    profile_ids: Sequence[int],
    *,
    using: str,
    trigger: str = PushTrigger.RESEND,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
    priority: Priority = Priority.RESEND,
) -> int:
    """Record a push without a body for each profile, and return the number of deliveries.

    Until the body is drawn, the deliveries come last in their pairs' order, and any newer push supersedes them.
    ``due_at`` is when they are due; by default at once.
    """
    deliveries = 0
    with transaction.atomic(using=using, savepoint=False):
        for batch in batched(profile_ids, ROWS_PER_STATEMENT):
            profiles = UserProfile._base_manager.using(using).filter(pk__in=batch)
            deliveries += record_selected(
                profiles, using=using, trigger=trigger, endpoint_ids=endpoint_ids, due_at=due_at, priority=priority
            )
    return deliveries


def record_selected(
    profiles: QuerySet[UserProfile],
    *,
    using: str,
    trigger: str = PushTrigger.RESEND,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
    priority: Priority = Priority.RESEND,
    skip_locked: bool = False,
) -> int:
    """Like :func:`record`, but let the database select the profiles, at most :data:`ROWS_PER_STATEMENT`.

    Profiles that none of the endpoints receives get no push. The ids are not sent to Python. On PostgreSQL,
    ``skip_locked`` leaves out profiles whose rows another transaction has locked; without it, the statement waits for
    them. Other databases do not wait for these rows.
    """
    if endpoint_ids == []:
        return 0
    connection = connections[using]
    quote = connection.ops.quote_name
    ids = EventIds(connection.vendor)
    event_id, parts = ids.for_each_row
    selected, parameters = profiles.order_by().values("id").query.get_compiler(using=using).as_sql()
    if connection.vendor == "postgresql":
        # PostgreSQL checks the foreign key at the commit, which is too late if the member is being deleted meanwhile.
        # This lock waits for such a deletion, and does not delay saves of the profile.
        selected += f" FOR KEY SHARE OF {quote(UserProfile._meta.db_table)}{' SKIP LOCKED' if skip_locked else ''}"
    sql = _INSERT.format(
        push=quote(Push._meta.db_table),
        endpoint=quote(ClientEndpoint._meta.db_table),
        only=only_these(endpoint_ids),
        audience=audience_holds("p.id", using=using),
        trigger=quote("trigger"),
        event_id=event_id,
        moment=TIMESTAMP_TYPES[connection.vendor],
        profiles=selected,
    )
    with transaction.atomic(using=using, savepoint=False), _without_key_checks(using):
        now = connection.ops.adapt_datetimefield_value(db_now(using))
        with connection.cursor() as cursor:
            cursor.execute(sql, [*parts, trigger, now, *parameters, *(endpoint_ids or ())])
            if not cursor.rowcount:
                return 0
        return fan_out(ids, using=using, priority=priority, endpoint_ids=endpoint_ids, due_at=due_at)


def _without_key_checks(using: str) -> AbstractContextManager[None]:
    """Turn MariaDB's foreign key checks off: they lock the row of each profile, and saves would fail in deadlocks.

    The checks are not needed. The statement itself selects the profiles, and if one is deleted meanwhile,
    :func:`~live_push.outbox.draw.draw` erases its push.
    """
    connection = connections[using]
    return connection.constraint_checks_disabled() if connection.vendor == "mysql" else nullcontext()
