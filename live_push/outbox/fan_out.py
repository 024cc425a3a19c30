"""Fan pushes out: insert one delivery for each push and endpoint that receives the member, with one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from django.db import connections
from django.db.models import Exists, OuterRef

from live_push.models import ClientEndpoint, Delivery, Priority, Push
from live_push.rules.batched import batched

from . import dialect, transitions
from .event_ids import EventIds
from .notify import notification_column
from .sql import audience_holds, fill

# A time that is a parameter in a SELECT list needs a cast to this type, because no column determines its type.
TIMESTAMP_TYPES = {"postgresql": "timestamptz", "mysql": "datetime(6)", "sqlite": "text"}


@dataclass(frozen=True, slots=True)
class NewPush:
    """A push to insert. Making an instance of the model would take longer than inserting it."""

    event_id: UUID
    profile_id: int
    sequence: int
    trigger: str
    payload: bytes | None
    digest: str
    error: str
    created_at: datetime


_COLUMNS: Final = ("event_id", "profile_id", "sequence", "trigger", "payload", "digest", "error", "created_at")
_ROW: Final = f"({', '.join(['%s'] * len(_COLUMNS))})"
_LOST: Final = """EXISTS (SELECT 1 FROM {endpoint} e WHERE e.audience = 'listed')
  AND NOT EXISTS (SELECT 1 FROM {delivery} d WHERE d.push_id = {push}.id)"""
"""The condition that a push has no delivery. Without a listed audience, the database need not look."""
_ROWS_PER_STATEMENT: Final = 100
"""SQLite allows 999 parameters in a statement, unless it is built for more."""


def insert_and_fan_out(pushes: Sequence[NewPush], *, using: str) -> None:
    """Insert new pushes, and one delivery for each push and active endpoint that receives the member, due at once.

    On PostgreSQL one statement inserts both, and notifies sleeping workers. A push without a delivery is not kept.
    """
    for batch in batched(pushes, _ROWS_PER_STATEMENT):
        if connections[using].vendor == "postgresql":
            _insert_together(batch, using=using)
        else:
            fan_out(_insert(batch, using=using), using=using)


def _insert_together(pushes: Sequence[NewPush], *, using: str) -> None:
    sql, values = _statement(pushes, using=using)
    answer = f"SELECT COUNT(DISTINCT push_id){notification_column(using)} FROM new_delivery"  # noqa: S608  (our own words)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"WITH new_push AS ({sql} RETURNING id, profile_id, sequence, error, created_at), "
            f"new_delivery AS ({_deliveries(using)} RETURNING push_id) {answer}",
            [*values, int(Priority.LIVE), False],
        )
        wanted = cursor.fetchone()[0]
    if wanted < len(pushes):
        inserted = Push.objects.using(using).filter(event_id__in=[push.event_id for push in pushes])
        inserted.filter(~Exists(Delivery.objects.filter(push=OuterRef("pk")))).delete()


@lru_cache(maxsize=8)
def _deliveries(using: str) -> str:
    quote = connections[using].ops.quote_name
    return transitions.record(
        "new_push",
        quote(ClientEndpoint._meta.db_table),
        delivery=quote(Delivery._meta.db_table),
        due="new_push.created_at",
        condition="TRUE",
        only="",
        audience=audience_holds("new_push.profile_id", using=using),
    )


def _insert(pushes: Sequence[NewPush], *, using: str) -> list[int]:
    """Insert the pushes, and return their ids."""
    connection = connections[using]
    returns_ids = connection.features.can_return_rows_from_bulk_insert
    sql, values = _statement(pushes, using=using)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} RETURNING id" if returns_ids else sql, values)
        if returns_ids:
            return [push_id for (push_id,) in cursor.fetchall()]
    # MySQL does not return the ids of inserted rows.
    event_ids = [push.event_id for push in pushes]
    return list(Push.objects.using(using).filter(event_id__in=event_ids).values_list("pk", flat=True))


def _statement(pushes: Sequence[NewPush], *, using: str) -> tuple[str, list[Any]]:
    connection = connections[using]
    payload, error = Push._meta.get_field("payload"), Push._meta.get_field("error")
    values: list[Any] = []
    for push in pushes:
        values += (
            dialect.token(push.event_id, using=using),
            push.profile_id,
            push.sequence,
            push.trigger,
            payload.get_db_prep_save(push.payload, connection),
            push.digest,
            error.get_db_prep_save(push.error, connection),
            connection.ops.adapt_datetimefield_value(push.created_at),
        )
    return _insertion(using) + ", ".join([_ROW] * len(pushes)), values


@lru_cache(maxsize=8)
def _insertion(using: str) -> str:
    quote = connections[using].ops.quote_name
    table, columns = quote(Push._meta.db_table), ", ".join(map(quote, _COLUMNS))
    return f"INSERT INTO {table} ({columns}) VALUES "  # noqa: S608  (quoted names)


def fan_out(
    pushes: Sequence[int] | EventIds,
    *,
    using: str,
    priority: Priority = Priority.LIVE,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
    anew: bool = False,
) -> int:
    """Insert the deliveries of new pushes, and return their number.

    ``pushes``
        The ids of the pushes, or the event ids that one statement gave them.
    ``endpoint_ids``
        Deliver to those of these endpoints that are active; by default to all active endpoints. A push that none of
        them receives is deleted.
    ``due_at``
        When the deliveries are due; by default at once.
    ``anew``
        First delete the deliveries that the same transaction inserted for these pushes.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    push = quote(Push._meta.db_table)
    condition: str
    chosen: Sequence[Any]
    if isinstance(pushes, EventIds):
        condition, chosen = pushes.held_by("event_id")
    else:
        condition, chosen = f"{push}.id IN ({', '.join(['%s'] * len(pushes))})", pushes
        if anew:
            Delivery.objects.using(using).filter(push_id__in=pushes).delete()
    sql = transitions.record(
        push,
        quote(ClientEndpoint._meta.db_table),
        delivery=quote(Delivery._meta.db_table),
        due=f"{push}.created_at" if due_at is None else f"CAST(%s AS {TIMESTAMP_TYPES[connection.vendor]})",
        condition=condition,
        only=only_these(endpoint_ids),
        audience=audience_holds(f"{push}.profile_id", using=using),
    )
    # Members may be in the audience of no endpoint. A resend has selected the others already, but since then a member
    # may have left, or an audience may have been narrowed.
    returns_pushes = not isinstance(pushes, EventIds) and connection.features.can_return_rows_from_bulk_insert
    with connection.cursor() as cursor:
        due = [] if due_at is None else [connection.ops.adapt_datetimefield_value(due_at)]
        values = [int(priority), *due, False, *chosen, *(endpoint_ids or ())]
        cursor.execute(f"{sql} RETURNING push_id" if returns_pushes else sql, values)
        wanted = [push_id for (push_id,) in cursor.fetchall()] if returns_pushes else []
        deliveries: int = len(wanted) if returns_pushes else cursor.rowcount
        if deliveries == 0:
            cursor.execute(f"DELETE FROM {push} WHERE {condition}", chosen)  # noqa: S608  (no value is part of the text)
        elif returns_pushes and (unwanted := {*chosen} - {*wanted}):
            Push.objects.using(using).filter(pk__in=unwanted).delete()
        elif isinstance(pushes, EventIds):
            cursor.execute(f"DELETE FROM {push} WHERE {condition} AND {fill(_LOST, using=using)}", chosen)  # noqa: S608  (no value is part of the text)
    return deliveries


def only_these(endpoint_ids: Sequence[int] | None) -> str:
    """Return the condition, after ``AND``, that the endpoint ``e`` is one of these; empty for all endpoints."""
    return "" if endpoint_ids is None else f" AND e.id IN ({', '.join(['%s'] * len(endpoint_ids)) or 'NULL'})"
