"""How fast a full outbox empties, by one worker, two, or Celery: beside a loop without a database, and beside peers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from statistics import median

from . import by_celery, world
from .bare import KINDS, in_a_process_of_its_own
from .harness import Bench, Row, alternate
from .peers import outside as peers
from .receiver import Receiver, check_complete, per_second

IN_FLIGHT = 8
PEERS_NUMBER = 400
"""A peer's backlog is shorter, because it takes as long as ours."""


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.scaled(5000, 20)
    ids = world.members(number)
    cpu: dict[str, list[float]] = defaultdict(list)
    with world.client() as client:
        # Without a database they are the same beside any: the others need those alone that they are compared with.
        kinds = [kind for kind in bare_kinds() if bench.database == "sqlite" or kind in {"transport", "aiohttp"}]
        sides: dict[str, Callable[[], float]] = {
            "one worker": partial(drain, client, ids, "one worker", cpu),
            "fast worker": partial(drain, client, ids, "fast worker", cpu, TRANSPORT=world.FAST),
            **{f"bare {kind}": partial(bare, client, kind, number, cpu) for kind in kinds},
            "two workers": partial(drain, client, ids, "two workers", cpu, 2),
        }
        if by_celery.has_broker():
            sides["Celery"] = partial(drain_by_celery, client, ids)
        at_hand = peers.at_hand(bench.database)
        rows = peers.rows(bench.scaled(PEERS_NUMBER, 6)) if at_hand else []
        for peer in at_hand:
            sides |= {way: partial(drain_of_peer, client, rows, peer, way) for way in peer.senders}
        values = alternate(sides, bench.rounds)
    bares = {side: values[side] for side in ("one worker", *(f"bare {kind}" for kind in kinds))}
    yield Row("drain, one worker / bare loop of the same client", "1/s", bares, goal="≥ 0.75")
    compared = {side: values[side] for side in ("fast worker", "one worker")}
    yield Row("drain, fast worker / one worker", "1/s", compared, goal="≥ 3")
    if "bare aiohttp" in values:
        compared = {side: values[side] for side in ("bare aiohttp", "fast worker")}
        yield Row("drain, bare loop of aiohttp / fast worker", "1/s", compared, goal="≤ 2")
    yield Row("drain, two workers / one", "1/s", {side: values[side] for side in ("two workers", "one worker")})
    if "Celery" in values:
        yield Row("drain, Celery / one worker", "1/s", {side: values[side] for side in ("Celery", "one worker")})
    yield from _beside_peers(at_hand, values)
    milliseconds = {side: [seconds / number * 1000 for seconds in rounds] for side, rounds in cpu.items()}
    compared = {side: milliseconds.pop(side) for side in ("one worker", "bare transport")}
    yield Row("CPU of a delivery, one worker / bare loop", "ms", compared | milliseconds)


def _beside_peers(at_hand: list[peers.Peer], values: dict[str, list[float]]) -> Iterator[Row]:
    """One worker beside each peer's best way, the other ways told after it; and beside the best peer of all."""
    best: list[str] = []
    for peer in at_hand:
        ways = sorted(peer.senders, key=lambda way: -median(values[way]))
        best.append(ways[0])
        compared = {side: values[side] for side in ("one worker", *ways)}
        goal = "≥ 20" if peer.name == "django-webhook" else ""
        yield Row(f"drain, one worker / {peer.name}", "1/s", compared, goal=goal)
    if best:
        first = max(best, key=lambda way: median(values[way]))
        compared = {side: values[side] for side in ("one worker", first)}
        yield Row("drain, one worker / best peer", "1/s", compared, goal="≥ 5")


def drain(
    client: Receiver,
    ids: list[int],
    side: str,
    cpu: dict[str, list[float]],
    number_of_workers: int = 1,
    **live_push: object,
) -> float:
    """Deliveries a second, from the first answer to the last."""
    world.endpoints(f"{client.url}/push", in_flight=IN_FLIGHT)
    with world.workers(number_of_workers, **live_push) as pids:
        world.fill_outbox(ids)
        before = sum(map(world.cpu_seconds, pids))
        world.go()
        receipts = client.wait_for(len(ids))
        world.all_settled()
        used = sum(map(world.cpu_seconds, pids)) - before
        cpu[side].append(used)
    check_complete(receipts, set(ids))
    return per_second(receipts)


def drain_by_celery(client: Receiver, ids: list[int]) -> float:
    """The same by live_push's Celery engine."""
    world.endpoints(f"{client.url}/push", in_flight=IN_FLIGHT)
    world.fill_outbox(ids)
    with by_celery.workers():
        world.go()
        receipts = client.wait_for(len(ids))
        world.all_settled()
    check_complete(receipts, set(ids))
    return per_second(receipts)


def drain_of_peer(client: Receiver, ids: list[int], peer: peers.Peer, way: str) -> float:
    """The same by a peer, whose backlog lies in its tables, or with its broker."""
    with peers.sending(peer, way, ids, f"{client.url}/push"):
        receipts = client.wait_for(len(ids))
    check_complete(receipts, set(ids))
    return per_second(receipts)


def bare_kinds() -> list[str]:
    """The client libraries that are installed, our own first; a printed sentence for each other one."""
    missing = [kind for kind in KINDS if kind in {"aiohttp", "pycurl"} and find_spec(kind) is None]
    for kind in missing:
        print(f"{kind} isn't installed and is left out; tests/benchmarks/requirements.txt names it.")  # noqa: T201
    return [kind for kind in KINDS if kind not in missing]


def bare(client: Receiver, kind: str, number: int, cpu: dict[str, list[float]]) -> float:
    """Requests a second of a client library alone, with as many in flight."""
    cpu[f"bare {kind}"].append(in_a_process_of_its_own(kind, f"{client.url}/push", number, IN_FLIGHT))
    receipts = client.wait_for(number)
    check_complete(receipts, set(range(1, number + 1)))
    return per_second(receipts)
