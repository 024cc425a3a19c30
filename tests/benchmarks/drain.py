"""How fast a full outbox empties, by one worker and by two, against a loop of the same client without a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from . import world
from .bare import in_a_process_of_its_own
from .harness import Bench, Row, alternate
from .receiver import Receiver, check_complete, per_second

IN_FLIGHT = 8


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.scaled(5000, 20)
    ids = world.members(number)
    cpu: dict[str, list[float]] = defaultdict(list)
    with world.client() as client:
        kinds = ("transport", "session", "aiohttp", "pycurl") if bench.database == "sqlite" else ("transport",)
        sides: dict[str, Callable[[], float]] = {
            "one worker": partial(drain, client, ids, 1, cpu),
            **{f"bare {kind}": partial(bare, client, kind, number, cpu) for kind in kinds},
            "two workers": partial(drain, client, ids, 2, cpu),
        }
        values = alternate(sides, bench.rounds)
    yield Row("drain, one worker / bare loop of the same client", "1/s", values, goal="≥ 0.75")
    yield Row("drain, two workers / one", "1/s", {side: values[side] for side in ("two workers", "one worker")})
    milliseconds = {side: [seconds / number * 1000 for seconds in rounds] for side, rounds in cpu.items()}
    yield Row("CPU of a delivery, one worker / bare loop", "ms", milliseconds)


def drain(client: Receiver, ids: list[int], number_of_workers: int, cpu: dict[str, list[float]]) -> float:
    """Deliveries a second, from the first answer to the last."""
    world.endpoints(f"{client.url}/push", in_flight=IN_FLIGHT)
    with world.workers(number_of_workers) as pids:
        world.fill_outbox(ids)
        before = sum(map(world.cpu_seconds, pids))
        world.go()
        receipts = client.wait_for(len(ids))
        world.all_settled()
        used = sum(map(world.cpu_seconds, pids)) - before
        cpu["one worker" if number_of_workers == 1 else "two workers"].append(used)
    check_complete(receipts, set(ids))
    return per_second(receipts)


def bare(client: Receiver, kind: str, number: int, cpu: dict[str, list[float]]) -> float:
    """Requests a second of a client library alone, with as many in flight."""
    cpu[f"bare {kind}"].append(in_a_process_of_its_own(kind, f"{client.url}/push", number, IN_FLIGHT))
    receipts = client.wait_for(number)
    check_complete(receipts, set(range(1, number + 1)))
    return per_second(receipts)
