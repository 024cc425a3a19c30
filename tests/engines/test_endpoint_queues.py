"""When a busy worker waits for more free slots, and how many outcomes end the wait."""

from __future__ import annotations

from typing import Any

import pytest

from live_push.engines.endpoint_queues import EndpointQueue, StartBatch


def queue(*, slots: int, in_flight: int, waiting: int = 100) -> EndpointQueue:
    made = EndpointQueue()
    made.slots, made.in_flight = slots, in_flight
    delivery: Any = object()
    made.waiting.extend([delivery] * waiting)
    return made


@pytest.mark.parametrize(
    ("slots", "in_flight", "waits", "missing"),
    [
        pytest.param(8, 8, False, 1, id="no slot is free"),
        pytest.param(8, 7, True, 3, id="one of eight is free"),
        pytest.param(8, 5, True, 1, id="three of eight are free"),
        pytest.param(8, 4, False, 1, id="half are free"),
        pytest.param(7, 6, False, 1, id="few slots"),
    ],
)
def test_a_start_waits_until_half_of_many_slots_are_free(slots: int, in_flight: int, waits: bool, missing: int) -> None:
    batch = StartBatch(lambda: 0.0)
    assert (batch.waits([queue(slots=slots, in_flight=in_flight)]), batch.missing) == (waits, missing)


def test_a_wait_ends_with_its_time_and_then_each_outcome_counts() -> None:
    now = [0.0]
    batch = StartBatch(lambda: now[0])
    queues = [queue(slots=8, in_flight=7)]
    assert batch.waits(queues)
    now[0] = StartBatch.SECONDS
    assert (batch.waits(queues), batch.missing) == (False, 1)
