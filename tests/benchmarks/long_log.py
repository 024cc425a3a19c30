"""A long delivery log on PostgreSQL, made by the database itself: a week in which nearly all was accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth import get_user_model
from django.db import connection

from live_push.models import Delivery, Push, UserProfile
from live_push.outbox import record

from . import world

ENDPOINTS = 5
DUE, RETRIED = 20, 10
"""So many of the newest pushes wait for each endpoint, and so many before them wait for their second attempt."""

TABLES = ("live_push_push", "live_push_delivery", "live_push_attempt")

MEMBERS = """
INSERT INTO live_push_confirmation (endpoint_id, profile_id, sequence, confirmed_at, digest)
SELECT e.id, p.id, p.changed_sequence - CASE WHEN p.id % 100 = 0 THEN 1 ELSE 0 END, now() - INTERVAL '8 days', ''
FROM live_push_clientendpoint e CROSS JOIN live_push_userprofile p
"""
HOURS = """
INSERT INTO live_push_endpointhour (endpoint_id, hour, error_code, within_ms, attempts)
SELECT e.id, date_trunc('hour', now()) - n * INTERVAL '1 hour', code, 100, 1000
FROM live_push_clientendpoint e, generate_series(0, 167) n, unnest(ARRAY['', 'timeout', 'http_error']) code
"""
# As with `live_push_prune --bodies-after 2`, the bodies of the last two days are there.
PUSHES = """
INSERT INTO live_push_push (event_id, profile_id, sequence, trigger, payload, digest, error, created_at)
SELECT gen_random_uuid(), %(first)s + n * 7919 %% %(profiles)s, %(sequence)s + n, 'updated',
       CASE WHEN n > %(number)s * 5 / 7 THEN %(body)s::bytea END, md5(n::text) || md5((-n)::text), '',
       now() - INTERVAL '7 days' * (1 - n::float / %(number)s)
FROM generate_series(1, %(number)s::bigint) n
"""
# Of a thousand six failed and three were cancelled.
DELIVERIES = """
INSERT INTO live_push_delivery (
    push_id, endpoint_id, profile_id, position, status, reason, priority, next_attempt_at, claims_made, attempts_made,
    run_attempts, run_started_at, redelivered, stalls, last_error_code, last_status_code, created_at, ended_at
)
SELECT id, endpoint_id, profile_id, sequence, status,
       CASE status WHEN 'failed' THEN 'exhausted' WHEN 'cancelled' THEN 'superseded' ELSE '' END,
       CASE WHEN tried AND status = 'pending' THEN 1 ELSE 0 END,
       CASE WHEN status = 'pending' THEN CASE WHEN tried THEN now() + INTERVAL '1 hour' ELSE created_at END END,
       tried::int, tried::int, tried::int, CASE WHEN tried THEN created_at END, FALSE, 0,
       CASE WHEN status = 'succeeded' OR NOT tried THEN '' WHEN id %% 2 = 0 THEN 'timeout' ELSE 'http_error' END,
       CASE WHEN status = 'succeeded' THEN 200 WHEN tried AND id %% 2 = 1 THEN 500 END,
       created_at, CASE WHEN status <> 'pending' THEN created_at + INTERVAL '1 second' END
FROM (
    SELECT p.*, e.id AS endpoint_id, p.id <= %(newest)s - %(due)s AS tried,
           CASE WHEN p.id > %(newest)s - %(due)s - %(retried)s THEN 'pending'
                WHEN (p.id * 37 + e.id * 11) %% 1000 < 6 THEN 'failed'
                WHEN (p.id * 37 + e.id * 11) %% 1000 < 9 THEN 'cancelled'
                ELSE 'succeeded' END AS status
    FROM live_push_push p CROSS JOIN live_push_clientendpoint e
    ORDER BY p.id
) d
"""
ATTEMPTS = """
INSERT INTO live_push_attempt (
    delivery_id, number, trigger, started_at, duration_ms, status_code, error_code, detail, body_digest,
    capture_conflict
)
SELECT id, 1, 'push', created_at, 12, last_status_code, last_error_code, '', md5(id::text) || md5((-id)::text), FALSE
FROM live_push_delivery WHERE attempts_made > 0 ORDER BY id
"""
INDEXES = """
SELECT tablename, indexname, indexdef, conname, pg_get_constraintdef(c.oid)
FROM pg_indexes i LEFT JOIN pg_constraint c ON c.conname = i.indexname
WHERE tablename = ANY(%s) AND c.contype IS DISTINCT FROM 'p'
"""


@contextmanager
def connected(name: str) -> Iterator[None]:
    """The default connection is to this database meanwhile."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def begin(profiles: int) -> None:
    """What is the same however long the log: members, endpoints, what these accepted, and somebody who looks at it."""
    world.members(profiles)
    world.endpoints(*(f"https://client-{number}.example.com/" for number in range(ENDPOINTS)))
    get_user_model().objects.create_superuser("boss")
    with connection.cursor() as cursor:
        cursor.execute(MEMBERS)
        cursor.execute(HOURS)


def fill(deliveries: int) -> float:
    """So many deliveries; returns the seconds that it took.

    Indexes are made afterwards, which is several times as fast, and leaves them as dense as they come.
    """
    began = time.monotonic()
    given = {"number": deliveries // ENDPOINTS, "due": DUE, "retried": RETRIED, **_taken_from_a_push()}
    _empty()
    with connection.cursor() as cursor:
        # Foreign keys are kept by how the rows are made.
        cursor.execute("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'")
        with _without_indexes():
            cursor.execute(PUSHES, given)
            cursor.execute("SELECT max(id) FROM live_push_push")
            cursor.execute(DELIVERIES, {**given, "newest": cursor.fetchone()[0]})
            cursor.execute(ATTEMPTS)
        cursor.execute("VACUUM ANALYZE")
    found = Delivery.objects.count()
    if found != given["number"] * ENDPOINTS:
        raise AssertionError(f"Of {deliveries:,} deliveries {found:,} were made.")
    connection.close()
    return time.monotonic() - began


def _empty() -> None:
    # What was accepted stays, as it does when a log is pruned.
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")


def _taken_from_a_push() -> dict[str, object]:
    first = UserProfile.objects.order_by("pk")[0]
    _empty()
    record.record([first.pk], "updated", using="default")
    push = Push.objects.get()
    # Ids have no gaps: the members were multiplied by one statement after another.
    return {
        "first": first.pk,
        "profiles": UserProfile.objects.count(),
        "sequence": push.sequence,
        "body": push.payload,
    }


@contextmanager
def _without_indexes() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(INDEXES, [list(TABLES)])
        found = cursor.fetchall()
        for table, index, _definition, constraint, _defined in found:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}" if constraint else f"DROP INDEX {index}")
        yield
        for table, _index, definition, constraint, defined in found:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} {defined}" if constraint else definition)
