"""The benchmarks count right and run; what they measure is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .harness import Row, alternate
from .plot import draw
from .receiver import Receipt, check_complete
from .steady import at_their_times
from .table import table
from .trips import percentile

ROOT = Path(__file__).parents[2]
ROW = Row("worker / bare", "1/s", {"worker": [80.0, 90.0, 60.0], "bare": [100.0, 100.0, 100.0]}, goal="≥ 0.75")


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    assert (ROW.ratio, ROW.verdict) == (0.8, "met")


@pytest.mark.parametrize(("goal", "verdict"), [("≥ 0.9", "missed"), ("≤ 0.9", "met"), ("≤ 0.7", "missed"), ("", "")])
def test_a_goal_is_met_or_missed(goal: str, verdict: str) -> None:
    assert Row(ROW.what, ROW.unit, ROW.sides, goal=goal).verdict == verdict


def test_each_side_begins_a_round_in_turn() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}  # type: ignore[misc]
    assert alternate(sides, rounds=3) == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}
    assert "".join(order) == "abcbcacab"


def test_the_table_shows_medians_the_spread_and_the_rounds() -> None:
    assert table([ROW]).splitlines()[-1] == (
        "| worker / bare |  | worker 80; bare 100 1/s | **0.80** (0.60 to 0.90) | 3 | ≥ 0.75 | met |"
    )


def test_the_plot_is_a_picture() -> None:
    picture = ElementTree.fromstring(draw([ROW], "2 cores & more"))  # noqa: S314  (our own)
    assert picture.tag.endswith("svg")
    assert any("0.80 (goal ≥ 0.75)" in (text.text or "") for text in picture.iter())


def test_a_measurement_runs(tmp_path: Path) -> None:
    result = tmp_path / "rows.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.one", "saves", "sqlite", "2", "1", str(result)]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
    rows = json.loads(result.read_text())
    assert [len(row["ratios"]) for row in rows] == [2, 2, 2, 2]
    assert [row["goal"] for row in rows] == ["≤ 3", "", "", "≤ 1.15"]


MEASURED: dict[str, dict[str, str]] = {
    "payload": {
        "payload: snapshot and bytes / bare dict and json.dumps": "≤ 3",
        "payload: snapshot / bare dict": "≤ 3",
        "payload: as recorded: snapshot, bytes and digest / bare dict and json.dumps": "",
        "payload: statements for 20 / for 1": "≤ 1",
    },
    "claims": {
        f"{step} in batches of 100 / bare UPDATE of {rows}": ""
        for step in ("claims", "settlements")
        for rows in ("100 rows", "one row")
    },
    "latency": {
        f"{what} at {rate}/s: {side} / {bare}": "≤ 1" if (side, rate) == ("worker", 50) and "+" in bare else ""
        for rate in (50, 200)
        for what, bare in (
            ("p50 from commit to answer", "2 times bare POST + 10 ms"),
            ("p99 from commit to answer", "3 times bare POST + 10 ms"),
            ("p99 from when it was due to save, to answer,", "bare POST"),
        )
        for side in ("worker", "autostart")
    },
    "sick": {"p99 of a healthy endpoint at 50/s: beside a sick one / alone": "≤ 1.1"},
    "slow": {
        f"receiver that takes {delay} ms, 10 in flight: {what}": goal if delay == 200 else ""
        for delay in (0, 50, 200)
        for side, busy in (("worker", "≥ 0.6"), ("fast worker", "≥ 0.9"))
        for what, goal in (
            (f"busy share of the {side}", busy),
            (f"{side} / bare loop of requests", ""),
            (f"peak memory of the {side} / 200 MB", "≤ 1"),
        )
        if delay or not what.startswith("busy")
    },
    "quiet": {
        "CPU of an idle worker, share of a core / the goal": "≤ 1",
        "p50 of 2 lone saves, each after 1.2 s of silence / the goal": "≤ 1",
        "max of 2 lone saves, each after 1.2 s of silence / the goal": "≤ 1",
    },
    "killed": {
        "first request to an endpoint after its only worker was killed with 8 on the wire / 20 s, total timeout 2 s": (
            "≤ 1"
        )
    },
    "memory": {"memory of a worker at 20 saves/s: last tenth of 0.0167 minutes / second": ""},
}
"""The goal of each row, by the name of the measurement."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_a_measurement_gets_each_request_once_and_its_table_names_each_row(name: str, tmp_path: Path) -> None:
    # It raises where a request was missing or came twice.
    result = tmp_path / "rows.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.one", name, "sqlite", "1", "1", str(result)]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
    rows = [Row(**row) for row in json.loads(result.read_text())]
    assert [(row.what, row.goal) for row in rows] == list(MEASURED[name].items())
    shown = table(rows).splitlines()[2:]
    assert all(line.startswith(f"| {what} ") for what, line in zip(MEASURED[name], shown, strict=True))
    assert all(row.ratios for row in rows)


@pytest.mark.parametrize("counts", [{1: 1}, {1: 2, 2: 1}, {1: 1, 2: 1, 3: 1}], ids=["missing", "twice", "unknown"])
def test_a_side_that_does_not_deliver_each_once_is_no_measurement(counts: dict[int, int]) -> None:
    receipts = [Receipt("/push", "", 0, member, 0.0) for member, count in counts.items() for _ in range(count)]
    with pytest.raises(AssertionError, match="1 members came not at all or too often"):
        check_complete(receipts, {1, 2})


def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    assert [percentile(range(1, 201), percent) for percent in (50, 99, 100)] == [100, 198, 200]
    assert percentile([7.0], 99) == 7.0


def test_saves_that_are_late_are_made_all_the_same() -> None:
    made: list[int] = []
    moments = at_their_times(lambda member: made.append(member) or 1.0, [3, 1, 2], rate=1e6)  # type: ignore[func-returns-value]
    assert made == [3, 1, 2]
    assert [at for _, at in moments] == [1.0] * 3
    assert [due - moments[0][0] for due, _ in moments] == pytest.approx([0, 1e-6, 2e-6], abs=1e-9)
