"""One delivery per endpoint for pushes that were just inserted: one statement, however many endpoints there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from live_push.models import ClientEndpoint, Delivery, DeliveryReason, DeliveryStatus, Priority, Push
from live_push.models.deliveries import END_OF_LINE

from .event_ids import EventIds

_INSERT = """
INSERT INTO {delivery} (push_id, endpoint_id, profile_id, position, status, reason, priority, next_attempt_at,
                        claims_made, attempts_made, run_attempts, redelivered, stalls, last_error_code,
                        created_at, ended_at)
SELECT {push}.id, e.id, profile_id, COALESCE(sequence, {end_of_line}),
       CASE WHEN error = '' THEN '{pending}' ELSE '{failed}' END,
       CASE WHEN error = '' THEN '' ELSE '{payload}' END,
       %s, CASE WHEN error = '' THEN {due} END,
       0, 0, 0, %s, 0, CASE WHEN error = '' THEN '' ELSE 'payload_failed' END,
       {push}.created_at, CASE WHEN error <> '' THEN {push}.created_at END
FROM {push} CROSS JOIN {endpoint} e
WHERE {which} AND e.is_active{only}
"""

# The type that a bound moment needs inside a SELECT list, where no column gives it one.
MOMENT = {"postgresql": "timestamptz", "mysql": "datetime(6)", "sqlite": "text"}


def fan_out(
    pushes: Sequence[int] | EventIds,
    *,
    using: str,
    priority: Priority = Priority.LIVE,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
    anew: bool = False,
) -> int:
    """Insert the deliveries of pushes for every active endpoint (or those of ``endpoint_ids`` that are active).

    The pushes are given by their ids, or by the event ids that one statement gave them. The deliveries are due at
    ``due_at``, or at once. A push that nobody wants is removed again. ``anew`` first removes what the same transaction
    fanned out before. Returns the number of deliveries.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    push = quote(Push._meta.db_table)
    which: str
    chosen: Sequence[Any]
    if isinstance(pushes, EventIds):
        which, chosen = pushes.held_by("event_id")
    else:
        which, chosen = f"{push}.id IN ({', '.join(['%s'] * len(pushes))})", pushes
        if anew:
            Delivery.objects.using(using).filter(push_id__in=pushes).delete()
    sql = _INSERT.format(
        delivery=quote(Delivery._meta.db_table),
        push=push,
        endpoint=quote(ClientEndpoint._meta.db_table),
        end_of_line=END_OF_LINE,
        pending=DeliveryStatus.PENDING.value,
        failed=DeliveryStatus.FAILED.value,
        payload=DeliveryReason.PAYLOAD.value,
        due=f"{push}.created_at" if due_at is None else f"CAST(%s AS {MOMENT[connection.vendor]})",
        which=which,
        only="" if endpoint_ids is None else f" AND e.id IN ({', '.join(['%s'] * len(endpoint_ids)) or 'NULL'})",
    )
    with connection.cursor() as cursor:
        due = [] if due_at is None else [connection.ops.adapt_datetimefield_value(due_at)]
        cursor.execute(sql, [int(priority), *due, False, *chosen, *(endpoint_ids or ())])
        deliveries: int = cursor.rowcount
        if deliveries == 0:
            cursor.execute(f"DELETE FROM {push} WHERE {which}", chosen)  # noqa: S608  (our own words)
    return deliveries
