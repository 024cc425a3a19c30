"""The statements that run for every batch of deliveries, as text. What differs between databases is in ``dialect``.

Read them in the order of a delivery's life: :data:`LOOK`, :data:`DUE`, :data:`LIVE`, :data:`CLAIMED`,
:data:`ACCEPTED_CONTENT`, :data:`FORGET_CONTENT`, :data:`LEASED`, :data:`ATTEMPTS`, :data:`CONFIRMATIONS`,
:data:`MARKED`, :data:`HOURS`. The statements that change a delivery's state stand in ``transitions``.

A name in braces is a table or a piece of SQL, see :func:`fill`; ``%(name)s`` is a parameter.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from django.db import connections

from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    EndpointHour,
    ListedBranding,
    Priority,
    Push,
    UserProfile,
)

PRIORITIES: Final = " UNION ALL ".join(f"SELECT {priority.value} AS priority" for priority in Priority)
"""A table of the priorities: if an entry of the index of due deliveries has to match both, the first match is next."""

IS_LISTED: Final = """(SELECT m.client_branding_id FROM {profile} m WHERE m.id = {member}) IN (
    SELECT a.client_branding_id FROM {listed} a WHERE a.endpoint_id = {of}
)"""
"""The condition that an endpoint's list has the branding of a member. ``member`` and ``of`` are SQL of their ids.

A scalar subquery reads the member. PostgreSQL turns an ``EXISTS`` over both tables into a join, and begins it with all
members while it has no statistics, such as after a large import. The condition is null for a member without a branding,
so it can't be negated.
"""

LOOK: Final = """
SELECT e.id, e.version, p.priority
FROM {endpoint} e JOIN {health} h ON h.endpoint_id = e.id
     CROSS JOIN ({priorities}) p
WHERE e.is_active AND (h.rests_until IS NULL OR h.rests_until <= {now})
  AND (SELECT d.id FROM {delivery} d
       WHERE d.endpoint_id = e.id AND d.priority = p.priority AND d.next_attempt_at <= {now} AND {wanted}
       ORDER BY d.next_attempt_at LIMIT 1) IS NOT NULL
ORDER BY e.id, p.priority
"""
"""The endpoints that may be sent to and have due deliveries, with the priorities of these. Every worker runs it all the
time.

For an endpoint and a priority, the index of due deliveries finds one. Not EXISTS: PostgreSQL would join the tables and
read all due deliveries.
"""

DUE: Final = """
SELECT d.id, d.profile_id, d.run_started_at
FROM {delivery} d
WHERE d.endpoint_id = %(endpoint)s AND d.priority = %(priority)s AND d.next_attempt_at <= %(now)s AND {wanted}
  AND d.profile_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM {delivery} o
                  WHERE o.endpoint_id = %(endpoint)s AND o.profile_id = d.profile_id AND {holds_back}
                    AND (o.position < d.position OR (o.position = d.position AND o.id < d.id)))
ORDER BY d.next_attempt_at, d.id LIMIT %(limit)s {row_locks}
"""
"""The due deliveries of one endpoint and priority that need not wait for an older one of their pair.

Locked rows are skipped, so that the limit counts only rows that can be claimed. The host project may lock many rows,
for example while it deletes members.
"""

HOLDS_BACK: Final = {
    "strict": "o.status IN ('pending', 'sending')",
    # A delivery that failed before does not hold back a newer one, which supersedes it.
    "in_order": "(o.status = 'sending' OR (o.status = 'pending' AND o.run_attempts = 0))",
    "latest_only": "o.status = 'sending'",
}
"""By the endpoint's ordering: which older deliveries of a pair (``o``) hold back a due one."""

LIVE: Final = """
SELECT d.profile_id, d.id, d.position, p.sequence, d.status,
       CASE WHEN d.next_attempt_at <= %(now)s THEN 1 ELSE 0 END, d.run_attempts,
       (SELECT c.sequence FROM {confirmation} c WHERE c.endpoint_id = %(endpoint)s AND c.profile_id = d.profile_id)
FROM {delivery} d JOIN {push} p ON p.id = d.push_id
WHERE d.endpoint_id = %(endpoint)s AND {profiles} AND d.status IN ('pending', 'sending')
"""
"""The deliveries of some pairs of one endpoint that have not ended, and what each client has accepted."""

CLAIMED: Final = """
SELECT d.id, d.profile_id, d.position, d.attempts_made, d.run_attempts, {run_started_at}, d.redelivered,
       p.id, p.event_id, p.profile_id, p.sequence, p.payload, p.digest, p.error
FROM {claimed} d JOIN {push} p ON p.id = d.push_id
"""
"""The deliveries that a claim took, with what is sent. ``claimed`` is the table, or what the claim returned."""

ACCEPTED_CONTENT: Final = """
SELECT d.id, {now},
       (SELECT c.content_digest FROM {confirmation} c
        WHERE c.endpoint_id = d.endpoint_id AND c.profile_id = d.profile_id AND c.sequence < d.position
          AND c.uncertain_since IS NULL)
FROM {delivery} d JOIN {endpoint} e ON e.id = d.endpoint_id
WHERE {deliveries} AND e.version = %(version)s AND e.is_active
  AND (SELECT p.{trigger} FROM {push} p WHERE p.id = d.push_id) <> 'resend' AND {audience}
"""
"""Of deliveries that a worker claimed from one endpoint and has locked: those that may be left out, with the digest of
what the client has accepted; it is empty or null if that is not certain. The current time comes with each row.

Neither a resend is left out, nor a delivery whose endpoint was changed after the worker has read it. Deliveries outside
the audience are ended by the start, with a reason of their own.
"""

FORGET_CONTENT: Final = """
UPDATE {confirmation} SET content_digest = '' WHERE endpoint_id = %(endpoint)s AND {profiles} AND content_digest <> ''
"""
"""Forget what the clients of some pairs have accepted, because attempts start."""

LEASED: Final = """
SELECT d.id, d.lease_token FROM {delivery} d WHERE {deliveries} ORDER BY d.id {row_locks}
"""
"""The deliveries of a settlement, locked, with their current lease tokens."""

ATTEMPTS: Final = {
    "delivery_id": "bigint",
    "number": "integer",
    "trigger": "text",
    "started_at": "timestamptz",
    "duration_ms": "integer",
    "status_code": "smallint",
    "error_code": "text",
    "detail": "text",
    "answer": "bytea",
    "body_digest": "text",
    "captured_id": "text",
    "replaced_id": "text",
    "capture_conflict": "boolean",
}
"""The columns of a new attempt, with their types on PostgreSQL."""

CONFIRMATIONS: Final = {
    "endpoint_id": "bigint",
    "profile_id": "bigint",
    "sequence": "bigint",
    "confirmed_at": "timestamptz",
    "digest": "text",
}
"""The columns of a confirmation that an accepted delivery writes. The mark ``uncertain_since`` stays as it is."""

CONTENTS: Final = {**CONFIRMATIONS, "content_digest": "text"}
"""The same, for endpoints that get only changes."""

MARKED: Final = """
SELECT id, endpoint_id, profile_id, uncertain_since FROM {confirmation} WHERE uncertain_since IS NOT NULL AND {profiles}
"""
"""The confirmations of some profiles that are marked as uncertain."""

HOURS: Final = {
    "endpoint_id": "bigint",
    "hour": "timestamptz",
    "error_code": "text",
    "within_ms": "integer",
    "attempts": "integer",
}
"""The columns of the hourly statistics."""

LEFT_OUT: Final = {**HOURS, "left_out": "integer"}
"""The same, for deliveries that were left out."""

_TABLES: Final = {
    "attempt": Attempt,
    "confirmation": Confirmation,
    "delivery": Delivery,
    "endpoint": ClientEndpoint,
    "health": EndpointHealth,
    "hour": EndpointHour,
    "listed": ListedBranding,
    "profile": UserProfile,
    "push": Push,
}


@lru_cache(maxsize=8)
def tables(using: str) -> dict[str, str]:
    """Return the quoted names of our tables by their names in the statements."""
    quote = connections[using].ops.quote_name
    return {name: quote(model._meta.db_table) for name, model in _TABLES.items()}


def audience_holds(member: str, *, using: str) -> str:
    """Return the condition that the audience of the endpoint ``e`` holds the member with this id, given as SQL."""
    return f"(e.audience = 'all' OR {fill(IS_LISTED, using=using, member=member, of='e.id')})"


def fill(statement: str, *, using: str, **pieces: str) -> str:
    """Return a statement of this module with the tables' names and these pieces of SQL in its braces."""
    return statement.format_map({**tables(using), **pieces})
