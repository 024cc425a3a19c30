"""A snapshot becomes bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from live_push.contract.encoding import content_digest, dump, encode, encode_stored, load, snapshot_digest
from live_push.contract.fields import BODY
from live_push.contract.options import PayloadOptions, check_ignored, check_withheld, ignored_by_default
from live_push.contract.payload import ProfilePayload
from live_push.contract.tier_info import tier_event
from live_push.exceptions import PayloadError

from . import members

FULL = ProfilePayload().snapshot(members.FULL)
TOP_TIER = ProfilePayload().snapshot(members.TOP_TIER)
NO_TIER = ProfilePayload().snapshot(members.SPARSE)


def sent(snapshot: dict[str, Any], **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode(snapshot, PayloadOptions(**options)))
    return body


def test_bytes_are_utf_8_without_insignificant_whitespace() -> None:
    body = encode({**FULL, "city": "Žižkov 林 🚀", "state": 'a "b"\n\x00'})
    assert '"city":"Žižkov 林 🚀"'.encode() in body
    assert b'"state":"a \\"b\\"\\n\\u0000"' in body
    assert b", " not in body
    assert b'": ' not in body


def test_without_options_a_verified_number_is_1_and_nothing_else_changes() -> None:
    assert sent(FULL) == {**FULL, "dateMobileVerified": 1}


def test_an_unverified_number_is_null_with_and_without_the_date_option() -> None:
    assert sent(NO_TIER)["dateMobileVerified"] is None
    assert sent(NO_TIER, mobile_verified_as_date=True)["dateMobileVerified"] is None


def test_a_number_verified_at_the_epoch_is_verified() -> None:
    assert sent({**FULL, "dateMobileVerified": 0})["dateMobileVerified"] == 1


def test_the_date_option_sends_the_day_of_verification() -> None:
    assert sent(FULL, mobile_verified_as_date=True) == FULL


def test_the_alias_stands_right_after_the_timeframe_score_and_repeats_it() -> None:
    body = sent(FULL, timeframe_score_alias=True)
    keys = list(body["tierInfo"])
    assert keys[keys.index("timeframeScore") + 1] == "timeframe_score"
    assert body["tierInfo"].pop("timeframe_score") == 1200
    assert body == sent(FULL)


def test_the_alias_is_null_without_a_tier() -> None:
    assert sent(NO_TIER, timeframe_score_alias=True)["tierInfo"]["timeframe_score"] is None


@pytest.mark.parametrize("snapshot", [TOP_TIER, NO_TIER], ids=["the top tier", "no tier"])
def test_a_missing_next_level_becomes_an_object_of_nulls_on_demand(snapshot: dict[str, Any]) -> None:
    body = sent(snapshot, null_levels_as_objects=True)
    assert list(body["tierInfo"]["nextLevel"].items()) == [("minValue", None), ("maxValue", None), ("title", None)]
    assert body["tierInfo"]["currentLevel"] == snapshot["tierInfo"]["currentLevel"]


def test_a_real_next_level_stays_with_that_option() -> None:
    assert sent(FULL, null_levels_as_objects=True) == sent(FULL)


def test_withheld_fields_are_null_and_the_rest_stays() -> None:
    body = sent(FULL, withheld_fields=("emailAddress", "isActive", "fanLevelName", "dateMobileVerified"))
    expected = {"emailAddress": None, "isActive": None, "fanLevelName": None, "dateMobileVerified": None}
    assert body == {**FULL, **expected}
    assert list(body) == list(FULL)


def compared(snapshot: dict[str, Any], *ignored: str, version: int = 1, **options: Any) -> str:
    return content_digest(snapshot, PayloadOptions(**options), ignored_keys=ignored, version=version)


def test_two_bodies_are_compared_without_what_is_ignored_and_what_changes_every_day() -> None:
    tier_info = {**FULL["tierInfo"], "daysUntilExpirationDate": 1}
    reordered = dict(reversed({**FULL, "dateLastLogin": 1, "tierInfo": tier_info}.items()))
    assert compared(reordered, "dateLastLogin") == compared(FULL, "dateLastLogin")
    assert compared(reordered) != compared(FULL)


@pytest.mark.parametrize(
    "options", [{"withheld_fields": ("city",)}, {"timeframe_score_alias": True}, {"mobile_verified_as_date": True}]
)
def test_bodies_that_differ_by_an_option_differ(options: dict[str, Any]) -> None:
    assert compared(FULL, **options) != compared(FULL)


def test_bodies_that_were_compared_under_another_version_differ() -> None:
    assert compared(FULL, version=1) != compared(FULL, version=2)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        pytest.param("dateLastLogon", "dateLastLogin", id="misspelt"),
        pytest.param("date_last_updated", "dateLastUpdated", id="the attribute"),
        pytest.param("tierinfo", "tierInfo", id="lower case"),
    ],
)
def test_an_unknown_key_that_is_to_be_ignored_is_refused_with_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check_ignored(["city", key])
    sentence = f"'{key}' is not a top-level key of the body, so it can't be ignored. The nearest is '{nearest}'."
    assert str(caught.value) == sentence


def test_every_key_may_be_ignored_and_the_time_of_the_update_is_by_default() -> None:
    check_ignored([field.key for field in BODY])
    assert ignored_by_default() == ["dateLastUpdated"]


def test_options_leave_the_snapshot_as_it_was() -> None:
    before = dump(TOP_TIER)
    encode(TOP_TIER, members.OPTIONS["all options"])
    assert dump(TOP_TIER) == before


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        pytest.param(["id"], "id can't be withheld", id="the id"),
        pytest.param(["tierInfo"], "tierInfo can't be withheld", id="the tier block"),
        pytest.param(["email_address"], "'email_address' is not a top-level key", id="an attribute instead of a key"),
        pytest.param(["nextLevel"], "'nextLevel' is not a top-level key", id="a key further down"),
        pytest.param(["emailAddress", ""], "'' is not a top-level key", id="the second is wrong"),
        pytest.param([["emailAddress"]], "is not a top-level key", id="a list in the list"),
        pytest.param([None], "None is not a top-level key", id="null in the list"),
        pytest.param("emailAddress", "must be a list", id="text instead of a list"),
        pytest.param(None, "must be a list", id="no list"),
    ],
)
def test_what_cannot_be_withheld_is_refused(keys: Any, sentence: str) -> None:
    with pytest.raises(PayloadError, match=sentence):
        check_withheld(keys)
    with pytest.raises(PayloadError, match=sentence):
        PayloadOptions(withheld_fields=keys)


def test_every_other_key_may_be_withheld() -> None:
    keys = [key for key in FULL if key not in ("id", "tierInfo")]
    check_withheld(keys)
    body = sent(FULL, withheld_fields=tuple(keys))
    assert {key for key, value in body.items() if value is not None} == {"id", "tierInfo"}


@settings(max_examples=100, deadline=None)
@given(members.rows())
def test_what_is_stored_is_read_back_in_the_same_order(row: dict[str, Any]) -> None:
    snapshot = ProfilePayload().snapshot(row)
    read = load(dump(snapshot))
    assert read == snapshot
    assert dump(read) == dump(snapshot)
    assert encode(load(memoryview(dump(snapshot)))) == encode(snapshot)


OPTIONS = [
    PayloadOptions(),
    PayloadOptions(timeframe_score_alias=True, null_levels_as_objects=True),
    PayloadOptions(mobile_verified_as_date=True),
    PayloadOptions(withheld_fields=("city",)),
]
SAYS_THE_SAME = {"dateMobileVerified": None, 'x"dateMobileVerified': "null,"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("custom", [None, {"dateMobileVerified": None}, SAYS_THE_SAME], ids=["none", "key", "keys"])
@pytest.mark.parametrize("verified", [None, 0, 5])
def test_the_body_of_a_stored_snapshot_is_that_of_the_snapshot(
    options: PayloadOptions, custom: Any, verified: int | None
) -> None:
    snapshot = {**FULL, "customData": custom, "dateMobileVerified": verified}
    assert encode_stored(dump(snapshot), options) == encode(snapshot, options)


@settings(max_examples=100, deadline=None)
@given(members.rows())
def test_so_is_that_of_any_member(row: dict[str, Any]) -> None:
    snapshot = ProfilePayload().snapshot(row)
    for options in OPTIONS:
        assert encode_stored(memoryview(dump(snapshot)), options) == encode(snapshot, options)


def test_where_nothing_is_to_change_the_stored_bytes_are_sent() -> None:
    stored = dump({**FULL, "dateMobileVerified": None})
    assert encode_stored(stored) is stored


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":'], ids=repr)
def test_a_damaged_stored_snapshot_is_refused(stored: bytes) -> None:
    with pytest.raises(PayloadError, match="can't be read"):
        load(stored)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"city": "Jane \ud800"}, "city holds half a character", id="a lone surrogate"),
        pytest.param({"customData": {"a": "Jane \udfff"}}, "customData holds half", id="a lone surrogate further down"),
        pytest.param({"customData": {"Jane \ud800": 1}}, "customData holds half", id="a lone surrogate as a key"),
        pytest.param({"Jane \ud800": 1}, "A key holds half a character", id="a lone surrogate in a top-level key"),
        pytest.param({"customData": {"a": float("nan")}}, "can't be written as JSON: ValueError", id="not a number"),
        pytest.param({"city": {"Jane"}}, "can't be written as JSON: TypeError", id="no JSON type"),
    ],
)
def test_what_json_cannot_carry_is_refused(changes: dict[str, Any], sentence: str) -> None:
    for write in (encode, dump, snapshot_digest):
        with pytest.raises(PayloadError, match=sentence) as caught:
            write({**FULL, **changes})
        assert caught.value.__suppress_context__


def test_a_digest_does_not_depend_on_the_order_of_custom_data() -> None:
    there = {**FULL, "customData": {"a": 1, "b": 2}}
    back = {**FULL, "customData": {"b": 2, "a": 1}}
    assert dump(there) != dump(back)
    assert snapshot_digest(there) == snapshot_digest(back)


def test_a_digest_is_sixty_four_hexadecimal_digits() -> None:
    assert len(snapshot_digest(FULL)) == 64
    assert int(snapshot_digest(FULL), 16) >= 0


def test_days_left_do_not_count_in_a_digest() -> None:
    later = {**FULL, "tierInfo": {**FULL["tierInfo"], "daysUntilResetDate": 3, "daysUntilExpirationDate": 4}}
    assert snapshot_digest(later) == snapshot_digest(FULL)


@pytest.mark.parametrize("key", [key for key in FULL if key not in ("tierInfo", "thirdPartyId")])
def test_every_other_member_counts_in_a_digest(key: str) -> None:
    for ignore in (False, True):
        assert snapshot_digest({**FULL, key: "changed"}, ignore_third_party_id=ignore) != snapshot_digest(
            FULL, ignore_third_party_id=ignore
        )


@pytest.mark.parametrize("key", [key for key in FULL["tierInfo"] if not key.startswith("daysUntil")])
def test_every_other_tier_member_counts_in_a_digest(key: str) -> None:
    assert snapshot_digest({**FULL, "tierInfo": {**FULL["tierInfo"], key: "changed"}}) != snapshot_digest(FULL)


def test_the_third_party_id_counts_unless_the_endpoint_gave_it() -> None:
    captured = {**FULL, "thirdPartyId": "CRM-1"}
    assert snapshot_digest(captured) != snapshot_digest(FULL)
    assert snapshot_digest(captured, ignore_third_party_id=True) == snapshot_digest(FULL, ignore_third_party_id=True)


def test_a_snapshot_tells_its_tier_event() -> None:
    assert tier_event(FULL) == "drop"
    assert tier_event(NO_TIER) is None
