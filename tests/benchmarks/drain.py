"""How fast a full outbox empties, by one worker or by Celery: beside a loop without a database, and beside peers."""

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
from .trips import url

IN_FLIGHT = (8, 64)
PEERS_NUMBER = 400
"""A peer's backlog is shorter, because it takes as long as ours."""

PEERS_GOALS = {"django-webhook": "≥ 60"}

Values = dict[str, list[float]]


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.scaled(5000, 20)
    ids = world.members(number)
    cpu: Values = defaultdict(list)
    # Without a database they are the same beside any: the others need those alone that they are compared with.
    beside_any = {"transport", "fast", "aiohttp"}
    kinds = [kind for kind in bare_kinds() if bench.database == "sqlite" or kind in beside_any]
    with world.client() as client:
        sides: dict[str, Callable[[], float]] = {}
        for in_flight in IN_FLIGHT:
            for side, settings in {"one worker": {}, "fast worker": {"TRANSPORT": world.FAST}}.items():
                name = _at(side, in_flight)
                sides[name] = partial(drain, client, ids, in_flight, cpu[name], **settings)
            for kind in kinds:
                name = _at(f"bare {kind}", in_flight)
                sides[name] = partial(bare, client, kind, number, in_flight, cpu[name])
        if by_celery.has_broker():
            sides[_at("Celery", IN_FLIGHT[0])] = partial(drain_by_celery, client, ids)
        at_hand = peers.at_hand(bench.database)
        rows = peers.rows(bench.scaled(PEERS_NUMBER, 6)) if at_hand else []
        for peer in at_hand:
            sides |= {way: partial(drain_of_peer, client, rows, peer, way) for way in peer.senders}
        values = alternate(sides, bench.rounds)
    milliseconds = {side: [seconds / number * 1000 for seconds in rounds] for side, rounds in cpu.items()}
    for in_flight in IN_FLIGHT:
        yield from _rows(in_flight, _of(values, in_flight))
        compared = _of(milliseconds, in_flight)
        ours = {side: compared.pop(side) for side in ("one worker", "bare transport")}
        yield Row(_at("CPU of a delivery, one worker / bare loop", in_flight), "ms", ours | compared)
        for peer in at_hand:
            # The best way first, which is the one that counts.
            ways = sorted(peer.senders, key=lambda way: -median(values[way]))
            compared = {"fast worker": values[_at("fast worker", in_flight)], **{way: values[way] for way in ways}}
            what = _at(f"drain, fast worker / {peer.name}", in_flight)
            yield Row(what, "1/s", compared, goal=PEERS_GOALS.get(peer.name, ""))


def _rows(in_flight: int, values: Values) -> Iterator[Row]:
    def row(what: str, *sides: str, goal: str = "") -> Row:
        return Row(_at(f"drain, {what}", in_flight), "1/s", {side: values[side] for side in sides}, goal=goal)

    others = [side for side in values if side.startswith("bare ") and side != "bare transport"]
    sides = ("one worker", "bare transport", *others)
    yield row("one worker / bare loop of the same transport", *sides, goal="≥ 0.7")
    if "bare aiohttp" in values:
        yield row("fast worker / bare loop of aiohttp", "fast worker", "bare aiohttp", goal="≥ 0.6")
    yield row("fast worker / one worker", "fast worker", "one worker")
    if "Celery" in values:
        yield row("Celery / one worker", "Celery", "one worker")


def _at(what: str, in_flight: int) -> str:
    return f"{what}, {in_flight} in flight"


def _of(values: Values, in_flight: int) -> Values:
    """Return the values measured with this number in flight, by the name of the side without the number."""
    end = _at("", in_flight)
    return {side.removesuffix(end): rounds for side, rounds in values.items() if side.endswith(end)}


def drain(client: Receiver, ids: list[int], in_flight: int, cpu: list[float], **live_push: object) -> float:
    """Deliveries a second by one worker, whose CPU seconds are noted."""
    world.endpoints(url(client), in_flight=in_flight)
    with world.workers(threads=world.threads_for(in_flight), **live_push) as (pid,):
        world.fill_outbox(ids)
        before = world.cpu_seconds(pid)
        rate = worked_off(client, ids)
        cpu.append(world.cpu_seconds(pid) - before)
    return rate


def worked_off(client: Receiver, ids: list[int]) -> float:
    """Deliveries a second, from the first answer to the last, of an outbox that was filled with one for each member."""
    world.go()
    receipts = client.wait_for(len(ids))
    world.all_settled()
    check_complete(receipts + client.take(), set(ids))
    return per_second(receipts)


def drain_by_celery(client: Receiver, ids: list[int]) -> float:
    """The same by live_push's Celery engine."""
    world.endpoints(url(client), in_flight=IN_FLIGHT[0])
    world.fill_outbox(ids)
    with by_celery.workers():
        return worked_off(client, ids)


def drain_of_peer(client: Receiver, ids: list[int], peer: peers.Peer, way: str) -> float:
    """The same by a peer, whose backlog lies in its tables, or with its broker."""
    with peers.sending(peer, way, ids, url(client)):
        receipts = client.wait_for(len(ids))
    check_complete(receipts + client.take(), set(ids))
    return per_second(receipts)


def bare_kinds() -> list[str]:
    """The client libraries that are installed, our own first; a printed sentence for each other one."""
    needs = {"aiohttp": "aiohttp", "fast": "pycurl", "pycurl": "pycurl"}
    missing = [kind for kind in KINDS if kind in needs and find_spec(needs[kind]) is None]
    for kind in missing:
        print(f"{kind} isn't installed and is left out; tests/benchmarks/requirements.txt names it.")  # noqa: T201
    return [kind for kind in KINDS if kind not in missing]


def bare(client: Receiver, kind: str, number: int, in_flight: int, cpu: list[float]) -> float:
    """Requests a second of a client library alone, with as many in flight; its CPU seconds are noted."""
    cpu.append(in_a_process_of_its_own(kind, url(client), number, in_flight))
    receipts = client.wait_for(number)
    check_complete(receipts + client.take(), set(range(1, number + 1)))
    return per_second(receipts)
