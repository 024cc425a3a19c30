"""Make the ``tierInfo`` object of the body, with its derived members, from the ``tier_…`` columns of a row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import BODY_KEYS, LEVEL, TIER_INFO, TIER_KEYS
from .values import aware, converter, count, event, integer, iso_8601

_TIMEFRAMES = ("fixed", "rolling", "none")
_DAY = timedelta(days=1)

_PREFIX = BODY_KEYS["tier_info"] + "."
_PATHS = {attribute: _PREFIX + key for attribute, key in TIER_KEYS.items()}
_MEMBERS = tuple((field.key, field.attribute) for field in TIER_INFO)
_LEVEL_MEMBERS = tuple((field.key, field.attribute, converter(field)) for field in LEVEL)


def empty_tier_info() -> dict[str, Any]:
    """Return the ``tierInfo`` of a member without a tier: all fourteen members are null."""
    return dict.fromkeys(key for key, _ in _MEMBERS)


def tier_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``tierInfo`` of one row, with its members in the published order.

    - The points still needed are at least 0.
    - If the tier does not expire, every member about expiry, reset and maintaining is null.
    - Only a fixed timeframe has a reset date.
    - The base tier, which has no lower bound, has no score to maintain.

    Raises :class:`~live_push.exceptions.PayloadError` for a wrong value, ``KeyError`` if the row lacks a column.
    """
    if row["tier_title"] is None:
        return empty_tier_info()
    timeframe = row["tier_timeframe"]
    if timeframe not in _TIMEFRAMES:
        raise PayloadError(Message("tier_timeframe", known=", ".join(_TIMEFRAMES)))

    score = integer(_PATHS["tier_timeframe_score"], row["tier_timeframe_score"])
    next_level = None if row["tier_next_title"] is None else _level("tier_next_", "tier_next_level", row)
    reset_date = row["tier_reset_date"] if timeframe == "fixed" else None
    expiration_date = row["tier_expiration_date"] if timeframe != "none" else None
    maintain_score = _maintain_score(row) if expiration_date is not None else None

    values = {
        "tier_reset_date": _date("tier_reset_date", reset_date),
        "tier_date_reached": _date("tier_date_reached", row["tier_date_reached"]),
        "tier_score_needed_to_reach": next_level
        and _needed("tier_score_needed_to_reach", row["tier_next_min_value"], score),
        "tier_next_level": next_level,
        "tier_score": integer(_PATHS["tier_score"], row["tier_score"]),
        "tier_timeframe_score": score,
        "tier_assigned_by_event": _event(row["tier_assigned_by_event"]),
        "tier_current_level": _level("tier_", "tier_current_level", row),
        "tier_days_until_reset_date": _whole_days(reset_date, row["now"]),
        "tier_days_until_expiration_date": _whole_days(expiration_date, row["now"]),
        "tier_date_assigned": _date("tier_date_assigned", row["tier_date_assigned"]),
        "tier_expiration_date": _date("tier_expiration_date", expiration_date),
        "tier_score_needed_to_maintain": None
        if maintain_score is None
        else _needed("tier_score_needed_to_maintain", maintain_score, score),
    }
    return {key: values[attribute] for key, attribute in _MEMBERS}


def tier_event(snapshot: Mapping[str, Any]) -> str | None:
    """Return the event that assigned the tier in this snapshot, such as ``"jump"``; ``None`` without a tier."""
    event_name: str | None = snapshot[BODY_KEYS["tier_info"]][TIER_KEYS["tier_assigned_by_event"]]
    return event_name


def _level(prefix: str, attribute: str, row: Mapping[str, Any]) -> dict[str, Any]:
    path = _PATHS[attribute]
    return {
        key: None if (value := row[prefix + name]) is None else convert(f"{path}.{key}", value)
        for key, name, convert in _LEVEL_MEMBERS
    }


def _maintain_score(row: Mapping[str, Any]) -> Any:
    """Return the score that keeps the tier: its maintain score, else its lower bound. ``None`` at the base tier."""
    if row["tier_min_value"] is None or row["tier_maintain_score"] is None:
        return row["tier_min_value"]
    return row["tier_maintain_score"]


def _needed(attribute: str, target: Any, score: int) -> int:
    path = _PATHS[attribute]
    return count(path, max(0, integer(path, target) - score))


def _date(attribute: str, moment: Any) -> str | None:
    return None if moment is None else iso_8601(_PATHS[attribute], moment)


def _event(name: Any) -> str | None:
    return None if name is None else event(_PATHS["tier_assigned_by_event"], name)


def _whole_days(moment: datetime | None, now: datetime) -> int | None:
    return None if moment is None else max(0, (moment - aware("now", now)) // _DAY)
