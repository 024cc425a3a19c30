"""One delivery per endpoint for pushes that were just inserted: one statement, however many endpoints there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connections

from live_push.models import ClientEndpoint, Delivery, DeliveryReason, DeliveryStatus, Priority, Push
from live_push.models.deliveries import END_OF_LINE

_INSERT = """
INSERT INTO {delivery} (push_id, endpoint_id, profile_id, position, status, reason, priority, next_attempt_at,
                        claims_made, attempts_made, run_attempts, redelivered, stalls, last_error_code,
                        created_at, ended_at)
SELECT p.id, e.id, p.profile_id, COALESCE(p.sequence, {end_of_line}),
       CASE WHEN p.error = '' THEN '{pending}' ELSE '{failed}' END,
       CASE WHEN p.error = '' THEN '' ELSE '{payload}' END,
       %s, CASE WHEN p.error = '' THEN {due} END,
       0, 0, 0, %s, 0, CASE WHEN p.error = '' THEN '' ELSE 'payload_failed' END,
       p.created_at, CASE WHEN p.error <> '' THEN p.created_at END
FROM {push} p CROSS JOIN {endpoint} e
WHERE p.id IN ({push_ids}) AND e.is_active{only}
"""

# The type that a bound moment needs inside a SELECT list, where no column gives it one.
_MOMENT = {"postgresql": "timestamptz", "mysql": "datetime(6)", "sqlite": "text"}


def fan_out(
    push_ids: Sequence[int],
    *,
    using: str,
    priority: Priority = Priority.LIVE,
    endpoint_ids: Sequence[int] | None = None,
    due_at: datetime | None = None,
    anew: bool = False,
) -> int:
    """Insert the deliveries of pushes for every active endpoint (or those of ``endpoint_ids`` that are active).

    They are due at ``due_at``, or at once. A push that nobody wants is removed again. ``anew`` first removes what the
    same transaction fanned out before. Returns the number of deliveries.
    """
    if anew:
        Delivery.objects.using(using).filter(push_id__in=push_ids).delete()
    connection = connections[using]
    quote = connection.ops.quote_name
    sql = _INSERT.format(
        delivery=quote(Delivery._meta.db_table),
        push=quote(Push._meta.db_table),
        endpoint=quote(ClientEndpoint._meta.db_table),
        end_of_line=END_OF_LINE,
        pending=DeliveryStatus.PENDING.value,
        failed=DeliveryStatus.FAILED.value,
        payload=DeliveryReason.PAYLOAD.value,
        due="p.created_at" if due_at is None else f"CAST(%s AS {_MOMENT[connection.vendor]})",
        push_ids=", ".join(["%s"] * len(push_ids)),
        only="" if endpoint_ids is None else f" AND e.id IN ({', '.join(['%s'] * len(endpoint_ids)) or 'NULL'})",
    )
    with connection.cursor() as cursor:
        due = [] if due_at is None else [connection.ops.adapt_datetimefield_value(due_at)]
        cursor.execute(sql, [int(priority), *due, False, *push_ids, *(endpoint_ids or ())])
        deliveries: int = cursor.rowcount
    if deliveries == 0:
        Push.objects.using(using).filter(pk__in=push_ids).delete()
    return deliveries
