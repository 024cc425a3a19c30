"""The judge finds what a receiver's record gives away."""

from __future__ import annotations

import pytest

from .judge import judge
from .receiver import Accepted


def accepted(sequence: int, state: str, event: str = "") -> Accepted:
    return Accepted("/a", event or f"event-{sequence}", 1, sequence, state)


@pytest.mark.parametrize(
    ("record", "missing", "older", "duplicates", "foreign", "unequal"),
    [
        pytest.param([accepted(1, "x"), accepted(2, "new")], 0, 0, 0, 0, 0, id="in order"),
        pytest.param([accepted(1, "x")], 1, 0, 0, 0, 1, id="the last state is missing"),
        pytest.param([], 1, 0, 0, 0, 1, id="everything is missing"),
        pytest.param([accepted(2, "new"), accepted(1, "x")], 0, 1, 0, 0, 1, id="an older state after a newer one"),
        pytest.param(
            [accepted(2, "new"), accepted(1, "x"), accepted(3, "new")],
            0,
            1,
            0,
            0,
            0,
            id="an older state that was healed",
        ),
        pytest.param([accepted(2, "new"), accepted(2, "new")], 0, 0, 1, 0, 0, id="the same event twice"),
        pytest.param([accepted(2, "new", "a"), accepted(2, "new", "b")], 0, 0, 1, 1, 0, id="one state as two events"),
    ],
)
def test_a_record_is_judged(
    record: list[Accepted], missing: int, older: int, duplicates: int, foreign: int, unequal: int
) -> None:
    verdict = judge(record, {1: "new"}, ["/a"])
    assert (verdict.missing, verdict.older_after_newer) == (missing, older)
    assert (verdict.duplicates, verdict.foreign_duplicates) == (duplicates, foreign)
    assert verdict.unequal == unequal
    assert verdict.is_kept == (missing == older == foreign == 0)
