"""The order of one pair's deliveries: which one is next, and which ones are superseded."""

from __future__ import annotations

import pytest

from live_push.models.deliveries import END_OF_LINE
from live_push.rules.ordering import Waiting, next_and_superseded


def push(pk: int, position: int, *, sending: bool = False, due: bool = True, tried: int = 0) -> Waiting:
    return Waiting(pk, position, drawn=True, sending=sending, due=due, run_attempts=tried)


def resend(pk: int, *, due: bool = True) -> Waiting:
    return Waiting(pk, END_OF_LINE, drawn=False, sending=False, due=due, run_attempts=0)


EVERY = ("in_order", "latest_only", "strict")
CASES = [
    # remark, orderings, pair, confirmed, next, superseded
    ("one waiting goes", EVERY, [push(1, 10)], 0, 1, ()),
    ("one not due waits", EVERY, [push(1, 10, due=False, tried=1)], 0, None, ()),
    ("one in flight holds the pair back", EVERY, [push(1, 10, sending=True), push(2, 20)], 0, None, ()),
    ("the older goes first", ("in_order", "strict"), [push(2, 20), push(1, 10)], 0, 1, ()),
    ("only the latest goes", ("latest_only",), [push(1, 10), push(2, 20), push(3, 30)], 0, 3, (1, 2)),
    ("the latest replaces others though one is in flight", ("latest_only",),
     [push(1, 10, sending=True), push(2, 20), push(3, 30)], 0, None, (2,)),
    ("a failed one gives way to a newer", ("in_order",), [push(1, 10, tried=1, due=False), push(2, 20)], 0, 2, (1,)),
    ("a failed one gives way only to a newer", ("in_order",),
     [push(1, 10), push(2, 20, tried=1, due=False)], 0, 1, ()),
    ("several failed ones give way", ("in_order",),
     [push(1, 10, tried=2, due=False), push(2, 20, tried=1, due=False), push(3, 30)], 0, 3, (1, 2)),
    ("strict: the next waits for the retries of the older", ("strict",),
     [push(1, 10, tried=3, due=False), push(2, 20)], 0, None, ()),
    ("strict: the older retries first", ("strict",), [push(1, 10, tried=3), push(2, 20)], 0, 1, ()),
    ("what is older than the confirmed state is pointless", EVERY, [push(1, 10), push(2, 20)], 15, 2, (1,)),
    ("what was confirmed itself is pointless", EVERY, [push(1, 10)], 10, None, (1,)),
    ("a resend alone goes", EVERY, [resend(1)], 99, 1, ()),
    ("a resend waits for an older update", ("in_order", "strict"), [push(1, 10), resend(2)], 0, 1, ()),
    ("a resend gives way to a newer update", EVERY, [resend(1), push(2, 20)], 0, 2, (1,)),
    ("of two resends the newer stays", EVERY, [resend(1), resend(2)], 0, 2, (1,)),
    ("a failed update gives way to a resend", ("in_order",), [push(1, 10, tried=1, due=False), resend(2)], 0, 2, (1,)),
    ("a resend that is not due yet holds no retry back", ("in_order", "latest_only"),
     [push(1, 10, tried=1), resend(2, due=False)], 0, 1, ()),
    ("nothing waits", EVERY, [], 5, None, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ordering", "pair", "confirmed", "next_id", "superseded"),
    [
        pytest.param(ordering, *expected, id=f"{ordering}: {remark}")
        for remark, orderings, *expected in CASES
        for ordering in orderings
    ],
)
def test_one_delivery_is_next_and_pointless_ones_are_superseded(
    ordering: str, pair: list[Waiting], confirmed: int, next_id: int | None, superseded: tuple[int, ...]
) -> None:
    decision = next_and_superseded(pair, ordering=ordering, confirmed=confirmed)
    assert (decision.next_id, decision.superseded) == (next_id, superseded)
