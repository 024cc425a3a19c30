"""Members to build payloads of: one with everything set, one with as little as possible, and any at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from live_push.contract.fields import BODY, EVENTS, INTEGER_MAX, INTEGER_MIN, Kind
from live_push.contract.options import PayloadOptions
from live_push.contract.sample import ROW

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)

TEXTS = {field.attribute for field in BODY if field.kind is Kind.TEXT and field.attribute != "tier_title"}

FULL: dict[str, Any] = {
    **ROW,
    **dict.fromkeys(TEXTS, "Žofie 林"),
    "custom_data": {"store": "575", "visits": 3, "rate": 0.5, "vip": True, "note": None},
    "date_mobile_verified": NOW,
    "sign_up_channel_id": 2,
    "tier_title": "Tier 2",
    "tier_min_value": 1000,
    "tier_max_value": 2499,
    "tier_next_title": "Tier 3",
    "tier_next_min_value": 2500,
    "tier_next_max_value": 4999,
    "tier_score": 200,
    "tier_timeframe_score": 1200,
    "tier_expiration_date": NOW + timedelta(days=10),
    "tier_reset_date": NOW + timedelta(days=20),
    "now": NOW,
}

NO_TIER: dict[str, Any] = {name: None for name in ROW if name.startswith("tier_")}

SPARSE: dict[str, Any] = {
    **{name: value if isinstance(value, int | datetime) else None for name, value in ROW.items()},
    "sign_up_type_id": None,
    "fan_rank": None,
    "activity_stream_opt_in": None,
    "date_last_login": None,
    "date_of_birth": None,
    **NO_TIER,
}

TOP_TIER: dict[str, Any] = {
    **FULL,
    "tier_max_value": None,
    "tier_next_title": None,
    "tier_next_min_value": None,
    "tier_next_max_value": None,
    "tier_timeframe": "rolling",
    "tier_reset_date": None,
}

MEMBERS = {"full": FULL, "sparse": SPARSE, "top tier": TOP_TIER, "sample": ROW}

OPTIONS = {
    "no options": PayloadOptions(),
    "timeframe score alias": PayloadOptions(timeframe_score_alias=True),
    "null levels as objects": PayloadOptions(null_levels_as_objects=True),
    "mobile verified as date": PayloadOptions(mobile_verified_as_date=True),
    "withheld fields": PayloadOptions(
        withheld_fields=("emailAddress", "fanLevelName", "isActive", "dateMobileVerified")
    ),
    "all options": PayloadOptions(True, True, True, ("emailAddress", "isActive")),
}

_ZONES = st.sampled_from(
    [UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-12))]
)
_INTEGERS = st.integers(INTEGER_MIN, INTEGER_MAX)
# Scores stay clear of both ends, so that what is still needed fits into 64 bits.
_SCORES = st.integers(0, 2**62)
_MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_ZONES)  # noqa: DTZ001
_SCALARS = st.none() | st.booleans() | _INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text()

_OF_KIND: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.text(max_size=100),
    Kind.INTEGER: _INTEGERS,
    Kind.NUMERIC: _INTEGERS | _INTEGERS.map(str),
    Kind.FLAG: st.booleans(),
    Kind.TEXT_FLAG: st.booleans(),
    Kind.TIMESTAMP: _MOMENTS,
    Kind.VERIFIED: _MOMENTS,
    Kind.CUSTOM_DATA: st.dictionaries(st.text(), _SCALARS, max_size=4),
}


def _profiles() -> st.SearchStrategy[dict[str, Any]]:
    columns = {}
    for field in BODY:
        if field.kind in _OF_KIND and field.attribute != "tier_title":
            values = _OF_KIND[field.kind]
            columns[field.attribute] = st.none() | values if field.nullable else values
    return st.fixed_dictionaries(columns)


def _tiers() -> st.SearchStrategy[dict[str, Any]]:
    event = st.sampled_from([*EVENTS, *(name.upper() for name in EVENTS), *(name.title() for name in EVENTS)])
    own = {
        "tier_title": st.text(),
        "tier_min_value": st.none() | _SCORES,
        "tier_max_value": st.none() | _SCORES,
        "tier_maintain_score": st.none() | _SCORES,
        "tier_timeframe": st.sampled_from(["fixed", "rolling", "none"]),
        "tier_score": _SCORES,
        "tier_timeframe_score": _SCORES,
        "tier_date_reached": _MOMENTS,
        "tier_date_assigned": _MOMENTS,
        "tier_expiration_date": st.none() | _MOMENTS,
        "tier_reset_date": st.none() | _MOMENTS,
        "tier_assigned_by_event": event,
    }
    above = {
        "tier_next_title": st.text(),
        "tier_next_min_value": _SCORES,
        "tier_next_max_value": st.none() | _SCORES,
    }
    return st.builds(
        lambda present, following: {**NO_TIER, **present, **following},
        st.fixed_dictionaries(own),
        st.just({}) | st.fixed_dictionaries(above),
    )


def rows() -> st.SearchStrategy[dict[str, Any]]:
    """Any row that a database may hand over."""
    calendar = st.fixed_dictionaries(
        {
            "now": _MOMENTS,
            "monthly_points_period": st.none() | st.dates(date(2020, 1, 1)),
            "weekly_points_period": st.none() | st.dates(date(2020, 1, 1)),
        }
    )
    zone = st.sampled_from([{"tier_time_zone": name} for name in (None, "UTC", "Pacific/Auckland")])
    return st.builds(
        lambda profile, tier, dates, place: {**profile, **tier, **dates, **place},
        _profiles(),
        st.just(NO_TIER) | _tiers(),
        calendar,
        zone,
    )


def options() -> st.SearchStrategy[PayloadOptions]:
    """Any payload options of an endpoint."""
    withheld = st.sets(st.sampled_from([field.key for field in BODY if field.attribute not in ("id", "tier_info")]))
    return st.builds(
        PayloadOptions, st.booleans(), st.booleans(), st.booleans(), withheld.map(lambda keys: tuple(sorted(keys)))
    )
