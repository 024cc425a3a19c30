"""A row becomes a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from live_push.contract.conformity import check_snapshot
from live_push.contract.encoding import encode
from live_push.contract.fields import BODY, TIER_INFO
from live_push.contract.payload import ProfilePayload
from live_push.contract.sample import ROW
from live_push.exceptions import PayloadError

from . import members

GOLDEN = (Path(__file__).parent / "golden.json").read_bytes().rstrip(b"\n")

EAST = timezone(timedelta(hours=5, minutes=45))


def snapshot(**changes: Any) -> dict[str, Any]:
    return ProfilePayload().snapshot({**members.FULL, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(PayloadError) as caught:
        snapshot(**changes)
    return str(caught.value)


def test_the_published_member_becomes_the_golden_sample_byte_for_byte() -> None:
    assert encode(ProfilePayload().snapshot(ROW)) == GOLDEN


@settings(max_examples=100, deadline=None)
@given(members.rows())
def test_the_snapshot_of_any_row_keeps_the_contract(row: dict[str, Any]) -> None:
    check_snapshot(ProfilePayload().snapshot(row))


def test_the_row_is_left_as_it_was() -> None:
    row = dict(members.FULL)
    ProfilePayload().snapshot(row)
    assert row == members.FULL


@pytest.mark.parametrize(
    ("attribute", "value", "key", "expected"),
    [
        pytest.param("first_name", "", "firstName", "", id="an empty text stays empty"),
        pytest.param("first_name", "Žofie 林\n", "firstName", "Žofie 林\n", id="text of any script"),
        pytest.param("third_party_id", "x" * 100, "thirdPartyId", "x" * 100, id="an id of a hundred characters"),
        pytest.param("id", 0, "id", 0, id="id 0"),
        pytest.param("total_points", 2**63 - 1, "totalPoints", 2**63 - 1, id="the largest number"),
        pytest.param("total_points", -(2**63), "totalPoints", -(2**63), id="the smallest number"),
        pytest.param("sign_up_channel_id", "2", "signUpChannelId", 2, id="a numeric text"),
        pytest.param("sign_up_channel_id", "-007", "signUpChannelId", -7, id="a signed text with zeros"),
        pytest.param("is_active", True, "isActive", 1, id="true is 1"),
        pytest.param("is_active", False, "isActive", 0, id="false is 0"),
        pytest.param("activity_stream_opt_in", True, "activityStreamOptIn", "1", id="true as text"),
        pytest.param("activity_stream_opt_in", False, "activityStreamOptIn", "0", id="false as text"),
        pytest.param("activity_stream_opt_in", None, "activityStreamOptIn", None, id="an unknown opt-in is null"),
        pytest.param(
            "date_of_birth", datetime(1970, 1, 1, tzinfo=UTC), "dateOfBirth", 0, id="the epoch is 0, not null"
        ),
        pytest.param("date_of_birth", datetime(1969, 12, 31, 12, tzinfo=UTC), "dateOfBirth", -43200, id="born before"),
        pytest.param(
            "date_of_birth",
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            "dateOfBirth",
            -1,
            id="rounded down before 1970 too",
        ),
        pytest.param(
            "date_last_login",
            datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC),
            "dateLastLogin",
            1767225600,
            id="microseconds are cut",
        ),
        pytest.param(
            "date_last_login", datetime(2026, 1, 1, 5, 45, tzinfo=EAST), "dateLastLogin", 1767225600, id="another zone"
        ),
        pytest.param(
            "date_last_login", datetime.max.replace(tzinfo=UTC), "dateLastLogin", 253402300799, id="the last second"
        ),
        pytest.param(
            "date_mobile_verified", members.NOW, "dateMobileVerified", 1777982400, id="the snapshot keeps the date"
        ),
        pytest.param("custom_data", {}, "customData", None, id="empty custom data is null"),
        pytest.param("custom_data", {"a": 1.5, "b": None}, "customData", {"a": 1.5, "b": None}, id="scalars stay"),
    ],
)
def test_a_value_takes_its_form_on_the_wire(attribute: str, value: Any, key: str, expected: Any) -> None:
    found = snapshot(**{attribute: value})[key]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("attribute", "value", "key"),
    [
        pytest.param("first_name", 5, "firstName", id="a number for text"),
        pytest.param("first_name", b"x", "firstName", id="bytes for text"),
        pytest.param("third_party_id", "x" * 101, "thirdPartyId", id="an id of 101 characters"),
        pytest.param("third_party_id", 5, "thirdPartyId", id="a number for the id"),
        pytest.param("id", None, "id", id="no id"),
        pytest.param("id", "5", "id", id="text for a number"),
        pytest.param("total_points", True, "totalPoints", id="a boolean is not a number"),
        pytest.param("total_points", 1.0, "totalPoints", id="a float is not a whole number"),
        pytest.param("total_points", 2**63, "totalPoints", id="one too large"),
        pytest.param("total_points", -(2**63) - 1, "totalPoints", id="one too small"),
        pytest.param("total_points", None, "totalPoints", id="null for a count"),
        pytest.param("sign_up_channel_id", "", "signUpChannelId", id="empty text for a number"),
        pytest.param("sign_up_channel_id", "1_0", "signUpChannelId", id="an underscore"),
        pytest.param("sign_up_channel_id", " 2", "signUpChannelId", id="a blank"),
        pytest.param("sign_up_channel_id", "٢", "signUpChannelId", id="digits of another script"),
        pytest.param("sign_up_channel_id", "9" * 5000, "signUpChannelId", id="thousands of digits"),
        pytest.param("sign_up_channel_id", "9223372036854775808", "signUpChannelId", id="a text one too large"),
        pytest.param("is_active", 1, "isActive", id="a number is not a flag"),
        pytest.param("is_active", None, "isActive", id="null for a flag"),
        pytest.param("activity_stream_opt_in", "1", "activityStreamOptIn", id="text is not a flag"),
        pytest.param("date_created", datetime(2026, 1, 1), "dateCreated", id="a date without a zone"),  # noqa: DTZ001
        pytest.param("date_created", date(2026, 1, 1), "dateCreated", id="a day is not a datetime"),
        pytest.param("date_created", 1767225600, "dateCreated", id="a number is not a datetime"),
        pytest.param("date_created", None, "dateCreated", id="null for a date that is always known"),
        pytest.param("custom_data", "{}", "customData", id="custom data as text"),
        pytest.param("custom_data", [], "customData", id="a list"),
        pytest.param("custom_data", {"a": {}}, "customData", id="an object inside"),
        pytest.param("custom_data", {"a": [1]}, "customData", id="a list inside"),
        pytest.param("custom_data", {"a": float("nan")}, "customData", id="not a number"),
        pytest.param("custom_data", {"a": float("-inf")}, "customData", id="infinity"),
        pytest.param("custom_data", {"a": 2**63}, "customData", id="a long number inside"),
        pytest.param("custom_data", {"a": members.NOW}, "customData", id="a date inside"),
        pytest.param("custom_data", {1: "a"}, "customData", id="a number as a key"),
        pytest.param("tier_title", 5, "fanLevelName", id="a number for the tier's name"),
        pytest.param("tier_min_value", "1", "tierInfo.currentLevel.minValue", id="text for a bound"),
        pytest.param("tier_next_max_value", 1.5, "tierInfo.nextLevel.maxValue", id="a float for a bound"),
        pytest.param("tier_next_min_value", None, "tierInfo.scoreNeededToReach", id="a next tier without lower bound"),
        pytest.param("tier_next_min_value", 2**63, "tierInfo.nextLevel.minValue", id="a bound one too large"),
        pytest.param("tier_maintain_score", "9", "tierInfo.scoreNeededToMaintain", id="text for a score to keep"),
        pytest.param("tier_score", None, "tierInfo.tierScore", id="a tier without score"),
        pytest.param("tier_timeframe_score", True, "tierInfo.timeframeScore", id="a boolean for a score"),
        pytest.param("tier_timeframe", "yearly", "tier_timeframe", id="an unknown timeframe"),
        pytest.param("tier_assigned_by_event", "promoted", "tierInfo.assignedByEvent", id="an unknown event"),
        pytest.param("tier_assigned_by_event", 3, "tierInfo.assignedByEvent", id="a number for an event"),
        pytest.param("tier_reset_date", datetime(2026, 1, 1), "tierInfo.resetDate", id="a reset without zone"),  # noqa: DTZ001
        pytest.param(
            "tier_date_reached",
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            "tierInfo.dateReached",
            id="a moment after the year 9999 in UTC",
        ),
        pytest.param("now", datetime(2026, 1, 1), "now", id="a clock without zone"),  # noqa: DTZ001
        pytest.param("monthly_points_period", members.NOW, "points period", id="a datetime for a period"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(attribute: str, value: Any, key: str) -> None:
    assert key in refusal(**{attribute: value})


@pytest.mark.parametrize("attribute", ["first_name", "date_created", "custom_data", "total_points", "is_active"])
def test_a_refusal_tells_the_type_and_never_the_value(attribute: str) -> None:
    sentence = refusal(**{attribute: {"a": ["Jane Doe, 12 Elm Street"]}})
    assert "Jane" not in sentence
    assert "found dict" in sentence or "found list" in sentence


@pytest.mark.parametrize("column", ["country", "tier_title", "tier_reset_date", "weekly_points_period", "now"])
def test_a_row_without_a_column_is_refused_with_its_name(column: str) -> None:
    row = {name: value for name, value in members.FULL.items() if name != column}
    with pytest.raises(PayloadError, match=column):
        ProfilePayload().snapshot(row)


@pytest.mark.parametrize("name", ["start", "UPDATE", "Jump", "dRoP", "maintain", "RESET"])
def test_an_event_may_come_in_any_case_and_leaves_in_lower_case(name: str) -> None:
    assert snapshot(tier_assigned_by_event=name)["tierInfo"]["assignedByEvent"] == name.lower()


def test_a_member_without_a_tier_gets_the_block_with_nothing_in_it() -> None:
    body = ProfilePayload().snapshot({**members.FULL, **members.NO_TIER})
    assert body["tierInfo"] == {field.key: None for field in TIER_INFO}
    assert body["fanLevelName"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, {"scoreNeededToReach": 1300, "scoreNeededToMaintain": 0}, id="enough to keep, not to rise"),
        pytest.param({"tier_timeframe_score": 2499}, {"scoreNeededToReach": 1}, id="one point short"),
        pytest.param({"tier_timeframe_score": 2500}, {"scoreNeededToReach": 0}, id="exactly there"),
        pytest.param({"tier_timeframe_score": 9999}, {"scoreNeededToReach": 0}, id="never below 0"),
        pytest.param(
            {"tier_timeframe_score": 0}, {"scoreNeededToMaintain": 1000}, id="keeping defaults to the lower bound"
        ),
        pytest.param(
            {"tier_timeframe_score": 0, "tier_maintain_score": 700},
            {"scoreNeededToMaintain": 700},
            id="a maintain score of its own",
        ),
        pytest.param({"tier_maintain_score": 0}, {"scoreNeededToMaintain": 0}, id="a maintain score of 0"),
        pytest.param(
            {"tier_min_value": None, "tier_maintain_score": 700},
            {"scoreNeededToMaintain": None, "currentLevel": {"minValue": None, "maxValue": 2499, "title": "Tier 2"}},
            id="nothing to keep at the base",
        ),
        pytest.param(
            {"tier_expiration_date": None},
            {"scoreNeededToMaintain": None, "expirationDate": None, "daysUntilExpirationDate": None},
            id="nothing to keep where nothing expires",
        ),
        pytest.param(
            {"tier_timeframe": "none"},
            {
                "resetDate": None,
                "daysUntilResetDate": None,
                "expirationDate": None,
                "daysUntilExpirationDate": None,
                "scoreNeededToMaintain": None,
            },
            id="no timeframe, no dates",
        ),
        pytest.param(
            {"tier_timeframe": "rolling"},
            {"resetDate": None, "daysUntilResetDate": None, "daysUntilExpirationDate": 10},
            id="a rolling timeframe has no reset",
        ),
        pytest.param(
            {"tier_next_title": None},
            {"nextLevel": None, "scoreNeededToReach": None},
            id="the top tier",
        ),
        pytest.param({}, {"score": 200, "tierScore": 200, "timeframeScore": 1200}, id="the score is the tier score"),
        pytest.param(
            {"tier_date_assigned": datetime(2026, 1, 1, 5, 45, 7, 999_999, tzinfo=EAST)},
            {"dateAssigned": "2026-01-01T00:00:07Z"},
            id="moments in UTC, to the second, rounded down",
        ),
        pytest.param(
            {"tier_date_reached": datetime(7, 2, 3, tzinfo=UTC)},
            {"dateReached": "0007-02-03T00:00:00Z"},
            id="four digits",
        ),
        pytest.param({"tier_date_reached": None}, {"dateReached": None}, id="an unknown moment is null"),
    ],
)
def test_the_tier_block_is_derived(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    block = snapshot(**changes)["tierInfo"]
    assert {key: block[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("left", "days"),
    [
        pytest.param(timedelta(days=10), 10, id="whole days"),
        pytest.param(timedelta(days=10) - timedelta(microseconds=1), 9, id="a moment less"),
        pytest.param(timedelta(hours=23, minutes=59), 0, id="less than a day"),
        pytest.param(timedelta(0), 0, id="now"),
        pytest.param(timedelta(seconds=-1), 0, id="just past"),
        pytest.param(timedelta(days=-400), 0, id="long past"),
    ],
)
def test_days_left_are_rounded_down_and_never_negative(left: timedelta, days: int) -> None:
    block = snapshot(tier_reset_date=members.NOW + left, tier_expiration_date=members.NOW + left)["tierInfo"]
    assert (block["daysUntilResetDate"], block["daysUntilExpirationDate"]) == (days, days)


@pytest.mark.parametrize(
    ("now", "zone", "month", "week", "expected"),
    [
        pytest.param("2026-05-05T12:00Z", None, None, None, (70, 7), id="no period: as they are"),
        pytest.param("2026-05-05T12:00Z", None, "2026-05-01", "2026-05-04", (70, 7), id="the present period"),
        pytest.param("2026-05-05T12:00Z", None, "2026-04-01", "2026-05-04", (0, 7), id="last month"),
        pytest.param("2026-05-05T12:00Z", None, "2026-05-01", "2026-04-27", (70, 0), id="last week"),
        pytest.param("2026-05-05T12:00Z", None, "2025-05-01", None, (0, 7), id="the same month a year ago"),
        pytest.param("2026-05-05T12:00Z", None, "2026-06-01", "2026-05-11", (70, 7), id="a period not begun yet"),
        pytest.param("2026-05-31T23:59:59Z", None, "2026-05-01", "2026-05-25", (70, 7), id="the last second"),
        pytest.param("2026-06-01T00:00:00Z", None, "2026-05-01", "2026-05-25", (0, 0), id="a Monday the first"),
        pytest.param(
            "2026-06-01T00:00:00Z", "America/New_York", "2026-05-01", "2026-05-25", (70, 7), id="still May in New York"
        ),
        pytest.param(
            "2026-05-31T12:00:00Z",
            "Pacific/Auckland",
            "2026-05-01",
            "2026-05-25",
            (0, 0),
            id="already June in Auckland",
        ),
    ],
)
def test_points_of_a_period_that_has_passed_read_as_0(
    now: str, zone: str | None, month: str | None, week: str | None, expected: tuple[int, int]
) -> None:
    body = snapshot(
        monthly_points=70,
        weekly_points=7,
        monthly_points_period=month and date.fromisoformat(month),
        weekly_points_period=week and date.fromisoformat(week),
        tier_time_zone=zone,
        now=datetime.fromisoformat(now),
    )
    assert (body["monthlyPoints"], body["weeklyPoints"]) == expected


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "America", "\0", 5])
def test_an_unknown_time_zone_is_refused(zone: Any) -> None:
    assert "time zone" in refusal(tier_time_zone=zone, monthly_points_period=date(2026, 5, 1))


def test_a_subclass_may_feed_a_key_from_elsewhere() -> None:
    class FromTheShop(ProfilePayload):
        columns = ("shop__name",)

        def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
            return super().snapshot({**row, "sign_up_campaign": row["shop__name"]})

    body = FromTheShop().snapshot({**members.FULL, "shop__name": "Corner shop"})
    check_snapshot(body)
    assert body["signUpCampaign"] == "Corner shop"
    assert list(body) == [field.key for field in BODY]
