"""How fast ``live_push_tiers`` lets everybody's tier expire at once, beside recording their pushes; its memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from django.db import connection, transaction

from live_push.models import Push, Tier, TierEvent, TierMembership
from live_push.models.clock import db_now
from live_push.outbox import record
from live_push.rules.batched import batched
from live_push.tiers.clock import MEMBERS_PER_BATCH
from tests.factories import TierProgramFactory

from . import world
from .by_command import by_command
from .harness import Bench, Row, alternate


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.rows or bench.scaled(100_000, 200)
    few = bench.scaled(10_000, 50)
    ids = world.members(number)
    world.endpoints("https://client.example.com/")
    TierProgramFactory(timeframe="rolling", length=12)
    megabytes: dict[str, list[float]] = {"all": [], "few": []}
    values = alternate(
        {
            "live_push_tiers": partial(applied_a_second, ids, megabytes["all"]),
            "recording their pushes": partial(recorded_a_second, ids),
            "live_push_tiers, few": partial(applied_a_second, ids[:few], megabytes["few"]),
        },
        bench.rounds,
    )
    compared = {side: values[side] for side in ("live_push_tiers", "recording their pushes")}
    yield Row(f"live_push_tiers with {number:,} members due / recording their pushes", "members/s", compared)
    yield Row(
        f"peak memory of live_push_tiers, {number:,} members minus {few:,}",
        "MB",
        {f"{number:,}": megabytes["all"], f"{few:,}": megabytes["few"]},
        goal="≤ 20 MB",
        ratios=[more - less for more, less in zip(megabytes["all"], megabytes["few"], strict=True)],
        note="the difference in MB, not a ratio",
    )


def applied_a_second(ids: list[int], megabytes: list[float]) -> float:
    """Members a second, by the command in a process of its own, whose peak memory is noted; half of them drop."""
    world.empty_outbox()
    for rows in (TierEvent.objects.all(), TierMembership.objects.all()):
        # Past the signals, which would push a hundred thousand members without a tier.
        rows._raw_delete("default")
    base, above, *_ = Tier.objects.order_by("pk")
    a_year_ago = db_now("default") - timedelta(days=366)
    columns = {"date_reached": a_year_ago, "date_assigned": a_year_ago, "last_event_at": a_year_ago}
    columns |= {"assigned_by_event": "start", "expiration_date": a_year_ago + timedelta(days=365)}
    TierMembership.objects.bulk_create(
        (TierMembership(pk=pk, tier=above if pk % 2 else base, **columns) for pk in ids), batch_size=1000
    )
    if connection.vendor == "postgresql":
        # Guessing, it would compile each statement for a time that it does not take.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    seconds, held = by_command("live_push_tiers")
    megabytes.append(held)
    events = TierEvent.objects.order_by().values("profile").distinct().count()
    if (events, Push.objects.filter(trigger="tier").count()) != (len(ids), len(ids)):
        raise AssertionError(f"Of {len(ids)} members {events} have an event, {Push.objects.count()} a push.")
    return len(ids) / seconds


def recorded_a_second(ids: list[int]) -> float:
    """Members a second whose pushes alone are recorded, with their bodies, in transactions of as many."""
    world.empty_outbox()
    began = time.perf_counter()
    for some in batched(ids, MEMBERS_PER_BATCH):
        with transaction.atomic():
            record.record(some, "tier", using="default")
    return len(ids) / (time.perf_counter() - began)
