"""How long an endpoint gets nothing after its only worker was killed, with all it may have in flight on the wire."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from . import world
from .harness import Bench, Row
from .receiver import check_complete
from .trips import url

IN_FLIGHT = 8
MEMBERS = 100
MOST_SECONDS = 20.0
TOTAL_TIMEOUT_SECONDS = 15
HELD_MS = 3_600_000
"""How long the client holds what the first worker sent: longer than anybody waits."""


def measure(bench: Bench) -> Iterator[Row]:
    ids = world.members(bench.scaled(MEMBERS, 2 * IN_FLIGHT))
    timeout = bench.scaled(TOTAL_TIMEOUT_SECONDS, 2)
    seconds = [_seconds(ids, timeout) for _ in range(bench.rounds)]
    what = f"first request to an endpoint after its only worker was killed with {IN_FLIGHT} on the wire"
    sides = {"killed": seconds, "the goal": [MOST_SECONDS] * bench.rounds}
    yield Row(f"{what} / {MOST_SECONDS:g} s, total timeout {timeout} s", "s", sides, goal="≤ 1")


def _seconds(ids: list[int], timeout: int) -> float:
    """From the kill to the first answer; the next worker is started at once."""
    with world.client(delay_ms=HELD_MS) as client:
        world.endpoints(url(client), in_flight=IN_FLIGHT)
        with world.workers(TOTAL_TIMEOUT_SECONDS=timeout) as (pid,):
            world.fill_outbox(ids)
            world.go()
            while int(client.ask("arrived")) < IN_FLIGHT:
                time.sleep(0.02)
            os.killpg(pid, signal.SIGKILL)
            killed = time.monotonic()
            client.ask("delay 0")
            with world.workers(TOTAL_TIMEOUT_SECONDS=timeout):
                receipts = client.wait_for(len(ids))
                world.all_settled()
        # What was on the wire was not answered, so it comes again.
        check_complete(receipts + client.take(), set(ids))
        if int(client.ask("arrived")) != len(ids) + IN_FLIGHT:
            raise AssertionError("More or fewer requests came than were on the wire and were answered.")
    return min(receipt.at for receipt in receipts) - killed
