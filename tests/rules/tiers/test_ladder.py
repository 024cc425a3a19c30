from __future__ import annotations

import pytest

from live_push.exceptions import TierError
from live_push.rules.tiers.ladder import Ladder, Level, from_base_to_top, ladder_problem
from tests.tiers.builders import ONE_TIER, THREE_TIERS


def level(title: str, min_value: int | None, max_value: int | None) -> Level:
    return Level(title=title, min_value=min_value, max_value=max_value)


@pytest.mark.parametrize(
    "rungs",
    [
        pytest.param([("Only", None, None)], id="one tier takes everybody"),
        pytest.param([("Low", None, 0), ("High", 1, None)], id="a base for those who have nothing"),
        pytest.param(
            [("Top", 20, None), ("Base", None, 9), ("Mid", 10, 19)], id="the order of the rows does not matter"
        ),
        pytest.param([("A", None, 9), ("B", 10, 10), ("C", 11, None)], id="a tier of a single score"),
    ],
)
def test_contiguous_tiers_make_a_ladder(rungs):
    assert ladder_problem([level(*rung) for rung in rungs]) is None


@pytest.mark.parametrize(
    ("rungs", "names"),
    [
        pytest.param([], ["at least one tier"], id="no tier at all"),
        pytest.param([("Low", 0, None)], ["'Low'", "no minimum"], id="a base with a minimum"),
        pytest.param([("Low", None, 9), ("High", 10, 99)], ["'High'", "no maximum"], id="a top with a maximum"),
        pytest.param(
            [("Low", None, 9), ("High", 11, None)], ["'Low'", "'High'", "gap", "at 10"], id="one score in no tier"
        ),
        pytest.param(
            [("Low", None, 9), ("High", 9, None)], ["'Low'", "'High'", "overlap"], id="one score in two tiers"
        ),
        pytest.param(
            [("Low", None, None), ("High", 9, None)], ["'Low'", "'High'", "no maximum"], id="open in the middle"
        ),
        pytest.param([("A", None, 9), ("B", None, None)], ["'A'", "'B'", "no minimum"], id="two bases"),
        pytest.param(
            [("A", None, 9), ("B", 10, 5), ("C", 6, None)], ["'B'", "before it begins"], id="a tier turned around"
        ),
        pytest.param([("A", None, -1), ("B", 0, None)], ["'A'", "before it begins"], id="nobody has less than nothing"),
    ],
)
def test_anything_else_is_refused_with_a_sentence_that_names_the_tiers(rungs, names):
    with pytest.raises(TierError) as refusal:
        Ladder(tuple(from_base_to_top([level(*rung) for rung in rungs])))
    assert [name for name in names if name not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("score", "title"),
    [
        pytest.param(0, "Tier 1", id="nothing earned"),
        pytest.param(999, "Tier 1", id="one short of the boundary"),
        pytest.param(1000, "Tier 2", id="exactly on the boundary"),
        pytest.param(2499, "Tier 2", id="the last score of a tier"),
        pytest.param(2500, "Tier 3", id="the first score of the top"),
        pytest.param(10**12, "Tier 3", id="far above the top"),
    ],
)
def test_a_score_reaches_the_level_whose_range_holds_it(score, title):
    assert THREE_TIERS[THREE_TIERS.reached_by(score)].title == title


def test_a_ladder_of_one_tier_has_nothing_to_reach():
    assert len(ONE_TIER) == 1
    assert ONE_TIER.reached_by(10**12) == 0


@pytest.mark.parametrize(
    ("own", "threshold"),
    [
        pytest.param(None, 1000, id="its minimum by default"),
        pytest.param(1500, 1500, id="harder to keep than to reach"),
        pytest.param(200, 200, id="easier to keep than to reach"),
        pytest.param(0, 0, id="kept by doing nothing"),
    ],
)
def test_the_maintain_score_of_a_level_is_its_minimum_unless_it_has_its_own(own, threshold):
    assert Level(title="T", min_value=1000, max_value=None, maintain_score=own).maintain_threshold == threshold
