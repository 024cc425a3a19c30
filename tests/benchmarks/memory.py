"""What a worker holds while an hour of steady saves goes by; takes as long as ``--minutes`` says."""

from __future__ import annotations

import time
from collections.abc import Iterator

from . import world
from .harness import Bench, Row
from .receiver import Receipt, Receiver, check_complete
from .trips import steady, url

RATE = 20
MEMBERS = 1000
"""They take turns, each long after its last push was answered; were one faster than that, pushes would give way."""

SAMPLES = 60


def measure(bench: Bench) -> Iterator[Row]:
    turns = max(1, round(bench.minutes * 60 * RATE / MEMBERS))
    members = world.members(bench.scaled(MEMBERS, 20))
    ids = members * (1 if bench.quick else turns)
    with world.client() as client:
        world.endpoints(url(client))
        with world.workers() as (pid,), steady(client, ids, rate=RATE) as finish:
            held, receipts = _sampled(pid, client, len(ids) / RATE)
            finish()
            receipts += client.wait_for(len(ids) - len(receipts))
            world.all_settled()
        check_complete(receipts + client.take(), set(members), each=len(ids) // len(members))
    part = max(1, len(held) // 10)
    sides = {"last tenth": held[-part:], "second tenth": held[part : 2 * part]}
    minutes = len(ids) / RATE / 60
    yield Row(f"memory of a worker at {RATE} saves/s: last tenth of {minutes:.3g} minutes / second", "MB", sides)


def _sampled(pid: int, client: Receiver, seconds: float) -> tuple[list[float], list[Receipt]]:
    """The worker's memory, at even distances, and what the client got meanwhile."""
    held: list[float] = []
    receipts: list[Receipt] = []
    began = time.monotonic()
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began + seconds * number / SAMPLES - time.monotonic()))
        held.append(world.memory_mb(pid))
        # Now and then, or its server would hold an hour's bodies.
        receipts += client.take()
    return held, receipts
