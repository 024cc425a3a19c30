"""Receivers that take their time: how much of what may be under way a worker keeps under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from . import world
from .bare import in_a_process_of_its_own
from .harness import Bench, Row, alternate
from .receiver import Receipt, Receiver, check_complete

IN_FLIGHT = 500
DELAYS_MS = (0, 50, 200)
GOALS = {("worker", 200): "≥ 0.6", ("fast worker", 200): "≥ 0.9"}
"""What share is to be under way, by the side and the milliseconds that the receiver takes."""

MOST_MB = 200


@dataclass(frozen=True)
class Figures:
    """Of one round; a bare loop's memory isn't looked at."""

    per_second: float
    peak_mb: float = 0.0


def measure(bench: Bench) -> Iterator[Row]:
    in_flight = bench.scaled(IN_FLIGHT, 10)
    ids = world.members(in_flight * 10)
    for delay_ms in DELAYS_MS:
        with world.client(delay_ms=delay_ms) as client:
            sides = {
                "worker": partial(_worker, client, ids, in_flight),
                "fast worker": partial(_worker, client, ids, in_flight, TRANSPORT=world.FAST),
                "bare loop": partial(_bare, client, len(ids), in_flight),
            }
            figures = alternate(sides, bench.rounds)
        for side in ("worker", "fast worker"):
            yield from _rows(side, figures, in_flight, delay_ms)


def _rows(side: str, figures: dict[str, list[Figures]], in_flight: int, delay_ms: int) -> Iterator[Row]:
    rates = {side: [one.per_second for one in figures[side]]}
    bare_rates = {"bare loop of requests": [one.per_second for one in figures["bare loop"]]}
    where = f"receiver that takes {delay_ms} ms, {in_flight} in flight"
    rounds, goal = len(figures[side]), GOALS.get((side, delay_ms), "")
    if delay_ms:
        all_busy = {f"{in_flight} always under way": [in_flight / delay_ms * 1000] * rounds}
        yield Row(f"{where}: busy share of the {side}", "1/s", {**rates, **all_busy, **bare_rates}, goal=goal)
    yield Row(f"{where}: {side} / bare loop of requests", "1/s", {**rates, **bare_rates})
    peaks = {side: [one.peak_mb for one in figures[side]], f"{MOST_MB} MB": [float(MOST_MB)] * rounds}
    yield Row(f"{where}: peak memory of the {side} / {MOST_MB} MB", "MB", peaks, goal="≤ 1" if goal else "")


def _worker(client: Receiver, ids: list[int], in_flight: int, **live_push: object) -> Figures:
    world.endpoints(f"{client.url}/push", in_flight=in_flight)
    with world.workers(threads=world.threads_for(in_flight), **live_push) as (pid,):
        world.fill_outbox(ids)
        world.go()
        receipts = client.wait_for(len(ids))
        world.all_settled()
        peak = world.memory_mb(pid, "VmHWM")
    check_complete(receipts + client.take(), set(ids))
    return Figures(_per_second(receipts, in_flight), peak)


def _bare(client: Receiver, number: int, in_flight: int) -> Figures:
    in_a_process_of_its_own("transport", f"{client.url}/push", number, in_flight)
    receipts = client.wait_for(number)
    check_complete(receipts, set(range(1, number + 1)))
    return Figures(_per_second(receipts, in_flight))


def _per_second(receipts: list[Receipt], in_flight: int) -> float:
    """Requests a second, once all connections stand and have been used."""
    moments = sorted(receipt.at for receipt in receipts)
    first = 2 * in_flight
    return (len(moments) - first) / (moments[-1] - moments[first - 1])
