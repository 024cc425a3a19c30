"""Whether one client that accepts connections and never answers slows down the pushes to another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from . import world
from .harness import Bench, Row, alternate
from .trips import SETTLING_IN_SECONDS, percentile, trips, url

RATE = 50


def measure(bench: Bench) -> Iterator[Row]:
    # Longer than a request may take, so that the first ones given up are part of it.
    ids = world.members(bench.scaled(RATE * (SETTLING_IN_SECONDS + 20), 20))
    sides = {"beside a sick one": partial(_p99, ids, sick=True), "alone": partial(_p99, ids, sick=False)}
    values = alternate(sides, bench.rounds)
    yield Row(f"p99 of a healthy endpoint at {RATE}/s: beside a sick one / alone", "ms", values, goal="≤ 1.1")


def _p99(ids: list[int], *, sick: bool) -> float:
    # The client's server goes before the worker does, or that would wait for answers that never come.
    with world.workers(), world.client() as client:
        world.endpoints(url(client), *([f"{client.url}/never"] if sick else []))
        return percentile([trip.ms for trip in trips(client, ids, rate=RATE)], 99)
