"""Of one pair's waiting deliveries, which is next and which give way."""

from __future__ import annotations

import pytest

from live_push.models.deliveries import END_OF_LINE
from live_push.outbox.line import Place, arrange


def place(pk: int, position: int, *, sending: bool = False, due: bool = True, tried: int = 0) -> Place:
    return Place(pk, position, drawn=True, sending=sending, due=due, run_attempts=tried)


def resend(pk: int, *, due: bool = True) -> Place:
    return Place(pk, END_OF_LINE, drawn=False, sending=False, due=due, run_attempts=0)


EVERY = ("in_order", "latest_only", "strict")
CASES = [
    # remark, orderings, line, confirmed, next, giving way
    ("one waiting goes", EVERY, [place(1, 10)], 0, 1, ()),
    ("one not due waits", EVERY, [place(1, 10, due=False, tried=1)], 0, None, ()),
    ("one in flight holds the pair back", EVERY, [place(1, 10, sending=True), place(2, 20)], 0, None, ()),
    ("the older goes first", ("in_order", "strict"), [place(2, 20), place(1, 10)], 0, 1, ()),
    ("only the latest goes", ("latest_only",), [place(1, 10), place(2, 20), place(3, 30)], 0, 3, (1, 2)),
    ("the latest replaces others though one is in flight", ("latest_only",),
     [place(1, 10, sending=True), place(2, 20), place(3, 30)], 0, None, (2,)),
    ("a failed one gives way to a newer", ("in_order",), [place(1, 10, tried=1, due=False), place(2, 20)], 0, 2, (1,)),
    ("a failed one gives way only to a newer", ("in_order",),
     [place(1, 10), place(2, 20, tried=1, due=False)], 0, 1, ()),
    ("several failed ones give way", ("in_order",),
     [place(1, 10, tried=2, due=False), place(2, 20, tried=1, due=False), place(3, 30)], 0, 3, (1, 2)),
    ("strict: the next waits for the retries of the older", ("strict",),
     [place(1, 10, tried=3, due=False), place(2, 20)], 0, None, ()),
    ("strict: the older retries first", ("strict",), [place(1, 10, tried=3), place(2, 20)], 0, 1, ()),
    ("what is older than the confirmed state is pointless", EVERY, [place(1, 10), place(2, 20)], 15, 2, (1,)),
    ("what was confirmed itself is pointless", EVERY, [place(1, 10)], 10, None, (1,)),
    ("a resend alone goes", EVERY, [resend(1)], 99, 1, ()),
    ("a resend waits for an older update", ("in_order", "strict"), [place(1, 10), resend(2)], 0, 1, ()),
    ("a resend gives way to a newer update", EVERY, [resend(1), place(2, 20)], 0, 2, (1,)),
    ("of two resends the newer stays", EVERY, [resend(1), resend(2)], 0, 2, (1,)),
    ("a failed update gives way to a resend", ("in_order",), [place(1, 10, tried=1, due=False), resend(2)], 0, 2, (1,)),
    ("a resend that is not due yet holds no retry back", ("in_order", "latest_only"),
     [place(1, 10, tried=1), resend(2, due=False)], 0, 1, ()),
    ("nothing waits", EVERY, [], 5, None, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ordering", "line", "confirmed", "next_id", "giving_way"),
    [
        pytest.param(ordering, *expected, id=f"{ordering}: {remark}")
        for remark, orderings, *expected in CASES
        for ordering in orderings
    ],
)
def test_a_line_is_arranged(
    ordering: str, line: list[Place], confirmed: int, next_id: int | None, giving_way: tuple[int, ...]
) -> None:
    verdict = arrange(line, ordering=ordering, confirmed=confirmed)
    assert (verdict.next_id, verdict.giving_way) == (next_id, giving_way)
