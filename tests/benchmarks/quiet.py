"""A worker in another process after a silence: what its waiting costs, and how fast it sends a lone save."""

from __future__ import annotations

import time
from collections.abc import Iterator

from live_push.models import UserProfile

from . import world
from .harness import Bench, Row
from .receiver import Receiver, check_complete
from .trips import percentile, url

SILENCE_SECONDS = 12.0
LONG_SILENCE_SECONDS = 150.0
SAVES = 30
IDLE_SECONDS = 60.0
MOST_IDLE_PERCENT = 0.5

MOST_MS = {"sqlite": {"p50": 30, "max": 60}, "postgresql": {"p50": 30, "max": 60}, "mariadb": {"p50": 120, "max": 120}}
"""What a lone save may take from its commit to the client's answer."""


def measure(bench: Bench) -> Iterator[Row]:
    silence = SILENCE_SECONDS / 10 if bench.quick else SILENCE_SECONDS
    # One more than is measured: the first delivery of a worker also connects to the client and compiles statements.
    ids = world.members(bench.scaled(SAVES, 2) + 1)
    with world.client() as client:
        world.endpoints(url(client))
        with world.workers() as (worker,):
            long_silence = silence if bench.quick else LONG_SILENCE_SECONDS
            used = _idle_percent(worker, long_silence, seconds=IDLE_SECONDS / 60 if bench.quick else IDLE_SECONDS)
            made = _lone(client, ids, silence)
    sides = {"worker": [used], f"{MOST_IDLE_PERCENT} %": [MOST_IDLE_PERCENT]}
    yield Row("CPU of an idle worker, share of a core / the goal", "%", sides, goal="≤ 1")
    for figure, value in {"p50": percentile(made, 50), "max": max(made)}.items():
        most = MOST_MS[bench.database][figure]
        what = f"{figure} of {len(made)} lone saves, each after {silence:g} s of silence / the goal"
        yield Row(what, "ms", {"worker": [value], f"{most} ms": [most]}, goal="≤ 1")


def _idle_percent(worker: int, silence: float, *, seconds: float) -> float:
    # Leave out the CPU that the worker's start takes.
    time.sleep(silence)
    before, began = world.cpu_seconds(worker), time.monotonic()
    time.sleep(seconds)
    return 100 * (world.cpu_seconds(worker) - before) / (time.monotonic() - began)


def _lone(client: Receiver, ids: list[int], silence: float) -> list[float]:
    """Milliseconds from the commit of each save to the client's answer."""
    profiles = UserProfile.objects.in_bulk(ids)
    milliseconds = []
    for number, (member, profile) in enumerate(profiles.items()):
        time.sleep(silence)
        profile.city = f"city {number}"
        profile.save()
        committed = time.monotonic()
        receipts = client.wait_for(1)
        check_complete(receipts, {member})
        milliseconds.append((receipts[0].at - committed) * 1000)
    return milliseconds[1:]
