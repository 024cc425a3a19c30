"""How fast ``resend_profile --all`` records, beside a bare INSERT … SELECT of as many rows, and in how much memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from django.db import connection, transaction

from live_push.models import Delivery, Push

from . import world
from .by_command import by_command
from .harness import Bench, Row, alternate

EVENT_IDS = {"postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))"}
PUSHES = """
INSERT INTO live_push_push (event_id, profile_id, trigger, digest, error, created_at)
SELECT {event_id}, id, 'resend', '', '', CURRENT_TIMESTAMP FROM live_push_userprofile
"""
DELIVERIES = """
INSERT INTO live_push_delivery (
    push_id, endpoint_id, profile_id, position, status, reason, priority, next_attempt_at, created_at,
    claims_made, attempts_made, run_attempts, redelivered, stalls, last_error_code
)
SELECT p.id, e.id, p.profile_id, 9223372036854775807, 'pending', '', 2, p.created_at, p.created_at,
       0, 0, 0, FALSE, 0, ''
FROM live_push_push p CROSS JOIN live_push_clientendpoint e
"""


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.rows or bench.scaled(100_000, 200)
    few = bench.scaled(10_000, 50)
    ids = world.members(number)
    world.endpoints("https://client.example.com/")
    megabytes: dict[str, list[float]] = {"all": [], "few": []}
    values = alternate(
        {
            "resend_profile": partial(recorded_a_second, number, 0, megabytes["all"]),
            "bare INSERT … SELECT": partial(inserted_a_second, number),
            "resend_profile, few": partial(recorded_a_second, few, ids[-few - 1], megabytes["few"]),
        },
        bench.rounds,
    )
    compared = {side: values[side] for side in ("resend_profile", "bare INSERT … SELECT")}
    yield Row(f"resend_profile --all of {number:,} profiles / bare INSERT … SELECT", "rows/s", compared, goal="≥ 0.5")
    yield Row(
        f"peak memory of resend_profile, {number:,} profiles minus {few:,}",
        "MB",
        {f"{number:,}": megabytes["all"], f"{few:,}": megabytes["few"]},
        goal="≤ 20 MB",
        ratios=[more - less for more, less in zip(megabytes["all"], megabytes["few"], strict=True)],
        note="the difference in MB, not a ratio",
    )


def recorded_a_second(number: int, after: int, megabytes: list[float]) -> float:
    """Profiles a second, by the command in a process of its own, whose peak memory is noted."""
    world.empty_outbox()
    seconds, held = by_command("resend_profile", "--all", "--yes", "--after", str(after))
    megabytes.append(held)
    check_recorded(number)
    return number / seconds


def inserted_a_second(number: int) -> float:
    """Profiles a second, by the two statements that nothing can do without, in one transaction."""
    world.empty_outbox()
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PUSHES.format(event_id=EVENT_IDS[connection.vendor]))
        cursor.execute(DELIVERIES)
    seconds = time.perf_counter() - began
    check_recorded(number)
    return number / seconds


def check_recorded(number: int) -> None:
    """Raise unless each profile has one push and one delivery."""
    pushes, deliveries = Push.objects.order_by(), Delivery.objects.filter(status="pending").order_by()
    counts = [
        *(pushes.count(), pushes.values("profile").distinct().count()),
        *(deliveries.count(), deliveries.values("profile").distinct().count()),
    ]
    if set(counts) != {number}:
        raise AssertionError(f"Of {number} profiles these were recorded: {counts}.")
