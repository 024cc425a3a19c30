"""What a payload costs: the row of a member becomes a snapshot and bytes, beside the same by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from live_push.contract import encoding, payload, sample
from live_push.outbox import snapshots

from . import world
from .bare_dict import bare_dict
from .harness import Bench, Row, alternate

Values = Mapping[str, Any]


def measure(bench: Bench) -> Iterator[Row]:
    number = bench.scaled(5000, 50)
    rows = [{**sample.ROW, "id": member, "push_sequence": 1} for member in range(1, number + 1)]
    serializer = payload.ProfilePayload()
    makers: dict[str, Callable[[Values], Any]] = {
        "snapshot and bytes": lambda row: encoding.encode(serializer.snapshot(row)),
        "bare dict and json.dumps": lambda row: json.dumps(bare_dict(row)).encode(),
        "snapshot": serializer.snapshot,
        "bare dict": bare_dict,
        "as recorded: snapshot, bytes and digest": lambda row: snapshots.build_snapshot(row, using="default"),
    }
    _check_same(makers, rows)
    values = alternate({name: partial(_microseconds, make, rows) for name, make in makers.items()}, bench.rounds)

    def compared(first: str, second: str, goal: str = "") -> Row:
        return Row(f"payload: {first} / {second}", "µs", {first: values[first], second: values[second]}, goal=goal)

    yield compared("snapshot and bytes", "bare dict and json.dumps", "≤ 3")
    yield compared("snapshot", "bare dict", "≤ 3")
    yield compared("as recorded: snapshot, bytes and digest", "bare dict and json.dumps")
    yield _queries(world.members(bench.scaled(1000, 20)), bench.rounds)


def _microseconds(make: Callable[[Values], Any], rows: Sequence[Values]) -> float:
    began = time.perf_counter()
    for row in rows:
        make(row)
    return (time.perf_counter() - began) / len(rows) * 1e6


def _check_same(makers: Mapping[str, Callable[[Values], Any]], rows: Sequence[Values]) -> None:
    """Both sides must say the same, or they can't be compared."""
    for row in rows:
        ours, bare = (json.loads(makers[name](row)) for name in ("snapshot and bytes", "bare dict and json.dumps"))
        if ours != bare:
            raise AssertionError(f"The bare body of member {row['id']} is another one.")


def _queries(ids: list[int], rounds: int) -> Row:
    """Statements for a batch and for a single payload: those that read the rows; building needs none."""
    counts = alternate({"batch": partial(_statements, ids), "one payload": partial(_statements, ids[:1])}, rounds)
    return Row(f"payload: statements for {len(ids):,} / for 1", "statements", counts, goal="≤ 1")


def _statements(ids: list[int]) -> float:
    with CaptureQueriesContext(connection) as reading:
        rows = snapshots.read_rows(ids, using="default")
    with CaptureQueriesContext(connection) as building:
        built = [snapshots.build_snapshot(rows[pk], using="default") for pk in ids]
    if len(building) or not all(snapshot.payload for snapshot in built):
        raise AssertionError(f"{len(ids)} payloads took {len(building)} queries, or some were not built.")
    return len(reading)
