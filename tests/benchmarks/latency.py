"""From a save's commit to the client's answer, at a steady rate, beside bare POSTs to the same server at that rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from . import world
from .harness import Bench, Row, alternate
from .receiver import Receiver
from .trips import SETTLING_IN_SECONDS, percentile, trips, url

SECONDS = {50: 10, 200: 5}
"""How long is measured, by how many saves a second."""

ADDED_MS = 10
GOALS = {("worker", 50): "≤ 1"}
"""By the side and the saves a second."""


@dataclass(frozen=True)
class Milliseconds:
    """Of one round."""

    p50: float
    p99: float
    p99_from_due: float
    rate_reached: float


def measure(bench: Bench) -> Iterator[Row]:
    with world.client() as client:
        for rate, seconds in SECONDS.items():
            ids = world.members(bench.scaled(rate * (SETTLING_IN_SECONDS + seconds), 20))
            sides = {kind: partial(_run, client, ids, rate, kind) for kind in ("worker", "autostart", "bare POST")}
            yield from _rows(rate, alternate(sides, bench.rounds))


def _run(client: Receiver, ids: list[int], rate: int, kind: str) -> Milliseconds:
    """``worker`` is another process, which finds what was saved at its next look; ``autostart`` is woken by it."""
    world.endpoints(url(client))
    with ExitStack() as stack:
        if kind == "worker":
            stack.enter_context(world.workers())
        settings = {"AUTOSTART_WORKER": kind == "autostart"}
        making = "post" if kind == "bare POST" else "save"
        made = trips(client, ids, rate=rate, kind=making, settings=settings)
    times = [trip.ms for trip in made]
    reached = (len(made) - 1) / (made[-1].began - made[0].began)
    late = percentile([trip.ms_from_due for trip in made], 99)
    return Milliseconds(percentile(times, 50), percentile(times, 99), late, reached)


def _slower(rate: int, rounds: list[Milliseconds]) -> str:
    """A word of warning where the saves themselves did not keep up, so that the worker had less to do."""
    reached = median(times.rate_reached for times in rounds)
    return f"only {reached:.0f} were saved" if reached < rate * 0.95 else ""


def _rows(rate: int, rounds: Mapping[str, list[Milliseconds]]) -> Iterator[Row]:
    for figure, factor in (("p50", 2), ("p99", 3)):
        values = {side: [getattr(times, figure) for times in some] for side, some in rounds.items()}
        allowed = {f"{factor} times bare POST + {ADDED_MS} ms": [factor * ms + ADDED_MS for ms in values["bare POST"]]}
        for side in ("worker", "autostart"):
            yield Row(
                f"{figure} from commit to answer at {rate}/s: {side} / {next(iter(allowed))}",
                "ms",
                {side: values[side], **allowed, "bare POST": values["bare POST"]},
                goal=GOALS.get((side, rate), ""),
                note=_slower(rate, rounds[side]),
            )
    late = {side: [times.p99_from_due for times in some] for side, some in rounds.items()}
    for side in ("worker", "autostart"):
        compared = {name: late[name] for name in (side, "bare POST")}
        what = f"p99 from when it was due to save, to answer, at {rate}/s: {side} / bare POST"
        yield Row(what, "ms", compared, note=_slower(rate, rounds[side]))
