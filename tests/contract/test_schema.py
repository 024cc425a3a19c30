"""The published schema: closed, and the same contract as the serializer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from live_push.contract.encoding import encode
from live_push.contract.options import PayloadOptions
from live_push.contract.payload import ProfilePayload
from live_push.contract.schema import body_schema, sample

from . import members, mutants

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_bytes())


def validator(options: PayloadOptions) -> Draft202012Validator:
    return Draft202012Validator(body_schema(options), format_checker=Draft202012Validator.FORMAT_CHECKER)


def body(member: dict[str, Any], options: PayloadOptions) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(encode(ProfilePayload().snapshot(member), options))
    return sent


each_option = pytest.mark.parametrize("options", members.OPTIONS.values(), ids=members.OPTIONS)


@each_option
def test_the_schema_is_a_valid_one(options: PayloadOptions) -> None:
    Draft202012Validator.check_schema(body_schema(options))
    json.dumps(body_schema(options), allow_nan=False)


def test_each_set_of_options_has_a_schema_of_its_own_name() -> None:
    names = {body_schema(options)["$id"] for options in members.OPTIONS.values()}
    assert len(names) == len(members.OPTIONS)
    assert all(name.startswith("urn:live-push:body") for name in names)


@each_option
@pytest.mark.parametrize("member", members.MEMBERS.values(), ids=members.MEMBERS)
def test_a_body_keeps_the_schema_of_its_endpoint(member: dict[str, Any], options: PayloadOptions) -> None:
    validator(options).validate(body(member, options))


@settings(max_examples=100, deadline=None)
@given(members.rows(), members.options())
def test_the_body_of_any_row_keeps_the_schema_of_any_endpoint(row: dict[str, Any], options: PayloadOptions) -> None:
    validator(options).validate(body(row, options))


@each_option
@pytest.mark.parametrize("member", members.MEMBERS.values(), ids=members.MEMBERS)
def test_no_mutant_keeps_the_schema(member: dict[str, Any], options: PayloadOptions) -> None:
    judge = validator(options)
    sent = body(member, options)
    found = dict(mutants.broken(sent, withheld=options.withheld_fields))
    if options.null_levels_as_objects and sent["tierInfo"]["nextLevel"]["title"] is None:
        del found["tierInfo.nextLevel.title: is null"]  # the one level whose title is null
    assert len(found) > 300
    assert [name for name, mutant in found.items() if judge.is_valid(mutant)] == []


@each_option
@pytest.mark.parametrize(
    ("member", "changes"),
    [
        pytest.param(members.FULL, {"resetDate": None}, id="days without a reset date"),
        pytest.param(members.FULL, {"daysUntilResetDate": None}, id="a reset date without days"),
        pytest.param(members.TOP_TIER, {"daysUntilResetDate": 3}, id="days to no reset"),
        pytest.param(members.FULL, {"expirationDate": None}, id="days without an expiration date"),
        pytest.param(members.FULL, {"daysUntilExpirationDate": None}, id="an expiration date without days"),
        pytest.param(members.FULL, {"scoreNeededToReach": None}, id="a next level without points to it"),
        pytest.param(members.TOP_TIER, {"scoreNeededToReach": 5}, id="points to no next level"),
        pytest.param(members.FULL, {"timeframeScore": None}, id="a tier without a timeframe score"),
        pytest.param(members.FULL, {"tierScore": None}, id="a tier without a score"),
        pytest.param(members.FULL, {"currentLevel": None}, id="everything but a tier"),
        pytest.param(members.SPARSE, {"score": 0}, id="a score without a tier"),
        pytest.param(members.SPARSE, {"assignedByEvent": "start"}, id="an event without a tier"),
        pytest.param(members.SPARSE, {"dateReached": "2017-03-23T20:00:00Z"}, id="a date without a tier"),
        pytest.param(members.SPARSE, {"scoreNeededToMaintain": 0}, id="something to keep without a tier"),
        pytest.param(
            members.SPARSE,
            {"nextLevel": {"minValue": 1, "maxValue": 2, "title": "Tier 2"}},
            id="a next tier without a tier",
        ),
    ],
)
def test_members_that_belong_together_are_judged_together(
    member: dict[str, Any], changes: dict[str, Any], options: PayloadOptions
) -> None:
    mutant = body(member, options)
    mutant["tierInfo"].update(changes)
    assert not validator(options).is_valid(mutant)


def test_the_levels_name_is_null_exactly_without_a_tier() -> None:
    judge = validator(PayloadOptions())
    assert not judge.is_valid({**body(members.FULL, PayloadOptions()), "fanLevelName": None})
    assert not judge.is_valid({**body(members.SPARSE, PayloadOptions()), "fanLevelName": "Tier 1"})


@pytest.mark.parametrize(
    "member", [members.FULL, members.TOP_TIER, members.SPARSE], ids=["a next level", "the top", "no tier"]
)
@pytest.mark.parametrize(
    "level",
    [
        pytest.param(None, id="null"),
        pytest.param({}, id="an empty object"),
        pytest.param({"minValue": None, "maxValue": None}, id="two of three members"),
        pytest.param({"minValue": 1, "maxValue": None, "title": None}, id="a level without a title"),
    ],
)
def test_where_null_levels_are_objects_no_other_null_will_do(member: dict[str, Any], level: Any) -> None:
    options = members.OPTIONS["null levels as objects"]
    mutant = body(member, options)
    mutant["tierInfo"]["nextLevel"] = level
    assert not validator(options).is_valid(mutant)


def test_the_alias_is_required_where_asked_for_and_refused_elsewhere() -> None:
    with_alias = body(members.FULL, members.OPTIONS["timeframe score alias"])
    without = body(members.FULL, PayloadOptions())
    assert not validator(PayloadOptions()).is_valid(with_alias)
    assert not validator(members.OPTIONS["timeframe score alias"]).is_valid(without)
    with_alias["tierInfo"]["timeframe_score"] = None
    assert not validator(members.OPTIONS["timeframe score alias"]).is_valid(with_alias)


def test_a_verified_number_is_1_or_a_date_and_never_both() -> None:
    plain, dated = PayloadOptions(), members.OPTIONS["mobile verified as date"]
    assert not validator(plain).is_valid(body(members.FULL, dated))
    assert not validator(plain).is_valid({**body(members.FULL, plain), "dateMobileVerified": 0})


def test_every_key_is_described() -> None:
    def undescribed(schema: dict[str, Any]) -> list[str]:
        found = []
        for key, member in schema.get("properties", {}).items():
            if not member.get("description"):
                found.append(key)
            found += undescribed(member)
        return found

    assert undescribed({**body_schema(), "allOf": []}) == []


def test_the_sample_is_the_golden_one() -> None:
    assert sample() == GOLDEN


@each_option
def test_the_sample_keeps_the_schema(options: PayloadOptions) -> None:
    validator(options).validate(sample(options))
