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
from .table import table

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


@pytest.mark.slow
def test_a_measurement_runs(tmp_path: Path) -> None:
    result = tmp_path / "rows.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.one", "saves", "sqlite", "2", "1", str(result)]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
    rows = json.loads(result.read_text())
    assert [len(row["ratios"]) for row in rows] == [2, 2, 2, 2]
