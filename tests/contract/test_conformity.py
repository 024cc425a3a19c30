"""A host's own serializer is judged."""

from __future__ import annotations

from typing import Any

import pytest

from live_push.contract.conformity import check_snapshot
from live_push.contract.payload import ProfilePayload
from live_push.exceptions import PayloadError

from . import members, mutants


def is_kept_by(snapshot: Any) -> bool:
    try:
        check_snapshot(snapshot)
    except PayloadError:
        return False
    return True


def edited(member: dict[str, Any] = members.FULL, *, tier: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    snapshot = ProfilePayload().snapshot(member)
    return {**snapshot, **body, "tierInfo": {**snapshot["tierInfo"], **(tier or {})}}


@pytest.mark.parametrize("member", members.MEMBERS.values(), ids=members.MEMBERS)
def test_our_own_snapshots_keep_the_contract(member: dict[str, Any]) -> None:
    check_snapshot(ProfilePayload().snapshot(member))


@pytest.mark.parametrize("member", members.MEMBERS.values(), ids=members.MEMBERS)
def test_no_mutant_keeps_the_contract(member: dict[str, Any]) -> None:
    found = dict(mutants.broken(ProfilePayload().snapshot(member)))
    assert len(found) > 300
    assert [name for name, mutant in found.items() if is_kept_by(mutant)] == []


@pytest.mark.parametrize(
    ("snapshot", "sentence"),
    [
        pytest.param([], "The body must be an object; found list", id="a list"),
        pytest.param(None, "The body must be an object; found null", id="nothing"),
        pytest.param({"id": 5}, "The body lacks country", id="hardly anything"),
        pytest.param({**edited(), "colour": 1}, "1 key", id="one key too many"),
        pytest.param(dict(reversed(edited().items())), "published order", id="keys the other way round"),
        pytest.param(
            {**edited(), "tierInfo": dict(reversed(edited()["tierInfo"].items()))},
            "tierInfo must keep the published order",
            id="tier members the other way round",
        ),
        pytest.param(
            edited(fanLevelName="Gold"), "must be the title of tierInfo.currentLevel", id="another level's name"
        ),
        pytest.param(edited(fanLevelName=None), "must be the title of tierInfo.currentLevel", id="no level's name"),
        pytest.param(edited(members.SPARSE, fanLevelName="Gold"), "must be the title", id="a level without a tier"),
        pytest.param(edited(tier={"score": 9}), "tierScore and score must be equal", id="two scores"),
        pytest.param(edited(tier={"resetDate": None}), "must be null together", id="days without a date"),
        pytest.param(edited(tier={"daysUntilExpirationDate": None}), "must be null together", id="a date without days"),
        pytest.param(edited(tier={"nextLevel": None}), "must be null together", id="points to no next level"),
        pytest.param(
            edited(tier={"scoreNeededToReach": None}), "must be null together", id="no points to the next level"
        ),
        pytest.param(edited(tier={"timeframeScore": None}), "must be null together", id="a tier without a score"),
        pytest.param(
            edited(members.SPARSE, tier={"assignedByEvent": "drop"}),
            "must be null without a tier",
            id="an event without a tier",
        ),
        pytest.param(
            edited(tier={"resetDate": "2017-02-30T00:00:00Z"}), "tierInfo.resetDate", id="the 30th of February"
        ),
    ],
)
def test_a_snapshot_that_breaks_the_contract_is_refused_with_a_sentence(snapshot: Any, sentence: str) -> None:
    with pytest.raises(PayloadError, match=sentence.replace(".", r"\.")):
        check_snapshot(snapshot)


def test_a_refusal_never_shows_the_value() -> None:
    with pytest.raises(PayloadError) as caught:
        check_snapshot(edited(isActive="Jane Doe"))
    assert "Jane" not in str(caught.value)
