"""What ``only_changes`` leaves out of a stream of saves of which seven in ten are logins."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from live_push.models import ClientEndpoint, Delivery, UserProfile
from live_push.models.clock import db_now

from . import world
from .harness import Bench, Row, alternate
from .receiver import Receiver
from .trips import url

LOGINS = 0.7
SAVES_PER_MEMBER = 10
LOGINS_IGNORED = "only changes, logins ignored"
BY_DEFAULT = "only changes, by default"
ALL = "all updates"
SIDES: dict[str, dict[str, Any]] = {
    LOGINS_IGNORED: {"only_changes": True, "ignored_keys": ["dateLastUpdated", "dateLastLogin"]},
    BY_DEFAULT: {"only_changes": True},
    ALL: {},
}


def measure(bench: Bench) -> Iterator[Row]:
    saves = bench.scaled(10_000, 40)
    ids = world.members(saves // SAVES_PER_MEMBER)
    cpu: dict[str, list[float]] = {side: [] for side in SIDES}
    with world.client() as client:
        sides: dict[str, Callable[[], float]] = {
            side: partial(percent_left_out, client, ids, saves, cpu[side], **columns) for side, columns in SIDES.items()
        }
        shares = alternate(sides, bench.rounds)
    of = f"{saves:,} saves, {LOGINS:.0%} of them logins"
    yield Row(f"updates left out, {of}", "%", shares, ratios=shares[LOGINS_IGNORED], note="the percentage, not a ratio")
    compared = {side: cpu[side] for side in (LOGINS_IGNORED, ALL)}
    yield Row(f"CPU of the worker, {of}: only changes / all updates", "s", compared)


def percent_left_out(client: Receiver, ids: list[int], saves: int, cpu: list[float], **columns: Any) -> float:
    """How many of the saves of members whom the client has are not sent, in percent; notes the worker's CPU seconds."""
    (endpoint,) = world.endpoints(url(client))
    ClientEndpoint.objects.filter(pk=endpoint.pk).update(**columns)
    with world.workers() as (pid,):
        world.fill_outbox(ids)
        world.go()
        world.all_settled(seconds=600)
        client.take()
        before = world.cpu_seconds(pid)
        save(ids, saves)
        while Delivery.objects.live().exists():
            time.sleep(0.05)
        cpu.append(world.cpu_seconds(pid) - before)
    sent, left_out = len(client.take()), Delivery.objects.filter(reason="unchanged").count()
    if sent + left_out != saves:
        raise AssertionError(f"Of {saves} updates {sent} were sent and {left_out} left out.")
    return left_out / saves * 100


def save(ids: list[int], saves: int) -> None:
    """Save members in a random order that is the same each time: exactly the share of logins, and new cities."""
    dice = random.Random(7)
    logins = [number < saves * LOGINS for number in range(saves)]
    dice.shuffle(logins)
    members, now = UserProfile.objects.in_bulk(ids), db_now("default")
    for number, is_login in enumerate(logins):
        member = members[dice.choice(ids)]
        if is_login:
            member.date_last_login = now + timedelta(seconds=number)
            member.save(update_fields=["date_last_login"])
        else:
            # Another one than in the round before.
            member.city = f"city {number} at {now}"
            member.save(update_fields=["city"])
