"""How much faster two workers empty a full outbox than one, where the client takes its time to answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from live_push.engines.worker import HOUSEKEEPING_SECONDS

from . import world
from .drain import worked_off
from .harness import Bench, Row, alternate
from .receiver import Receiver
from .trips import url

IN_FLIGHT = 16
DELAY_MS = 20


def measure(bench: Bench) -> Iterator[Row]:
    ids = world.members(bench.scaled(5000, 100))
    with world.client(delay_ms=DELAY_MS) as client:
        sides = {"two workers": partial(_drain, client, ids, 2), "one worker": partial(_drain, client, ids, 1)}
        values = alternate(sides, bench.rounds)
    where = f"receiver that takes {DELAY_MS} ms, {IN_FLIGHT} in flight each"
    yield Row(f"drain, two fast workers / one, {where}", "1/s", values, goal="≥ 1.6")


def _drain(client: Receiver, ids: list[int], number: int) -> float:
    world.endpoints(url(client), in_flight=IN_FLIGHT * number)
    with world.workers(number, threads=world.threads_for(IN_FLIGHT), TRANSPORT=world.FAST):
        world.fill_outbox(ids)
        # By then the first worker knows of the second, and leases only its own share of what may be in flight.
        time.sleep(HOUSEKEEPING_SECONDS + 1)
        return worked_off(client, ids)
