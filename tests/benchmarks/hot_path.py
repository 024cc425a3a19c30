"""What a delivery costs the thread that owns the database: its statements, and its CPU beside a bare aiohttp request.

The pipeline runs in this process, with the fast transport, whose own thread is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.db import connection

from live_push.delivery.fast import FastTransport
from live_push.engines.run import run_once

from . import world
from .bare import in_a_process_of_its_own
from .drain import bare_kinds
from .harness import Bench, Row, alternate
from .receiver import Receiver, check_complete
from .trips import url

IN_FLIGHT = 8


def measure(bench: Bench) -> Iterator[Row]:
    ids = world.members(bench.scaled(5000, 20))
    statements: list[float] = []
    with world.client() as client:
        sides: dict[str, Callable[[], float]] = {"database thread": partial(_of_a_delivery, client, ids, statements)}
        if "aiohttp" in bare_kinds():
            sides["bare aiohttp"] = partial(_of_a_bare_request, client, len(ids))
        values = alternate(sides, bench.rounds)
    where = f"full outbox, {IN_FLIGHT} in flight"
    counts = {"statements": statements, "deliveries": [float(len(ids))] * bench.rounds}
    yield Row(f"statements / deliveries, {where}", "in all", counts, goal="≤ 0.1")
    if "bare aiohttp" in values:
        is_in_process = bench.database == "sqlite"
        note = "the database itself works in this thread" if is_in_process else ""
        goal = "" if is_in_process else "≤ 0.6"
        what = f"CPU of the database thread per delivery / CPU of a bare aiohttp request, {where}"
        yield Row(what, "ms", values, goal=goal, note=note)


def _of_a_delivery(client: Receiver, ids: list[int], statements: list[float]) -> float:
    """Milliseconds of CPU; how many statements all deliveries took is noted."""
    world.endpoints(url(client), in_flight=IN_FLIGHT)
    world.fill_outbox(ids)
    world.go()
    made = 0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal made
        made += 1
        return execute(*arguments)

    transport = FastTransport()
    with connection.execute_wrapper(count):
        began = time.thread_time()
        run_once("default", threads=world.threads_for(IN_FLIGHT), transport=transport)
        used = time.thread_time() - began
    transport.close()
    world.all_settled()
    check_complete(client.take(), set(ids))
    statements.append(float(made))
    return used / len(ids) * 1000


def _of_a_bare_request(client: Receiver, number: int) -> float:
    """Milliseconds of CPU."""
    used = in_a_process_of_its_own("aiohttp", url(client), number, IN_FLIGHT)
    check_complete(client.take(), set(range(1, number + 1)))
    return used / number * 1000
