"""Does a snapshot keep the contract? A host's own serializer is judged by this."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from live_push.exceptions import PayloadError

from .fields import BODY, BODY_KEYS, EVENTS, LEVEL, LEVEL_KEYS, NULL_TOGETHER, TIER_INFO, TIER_KEYS, Field, Kind
from .values import count, custom_data, integer, limited_text, text, type_name

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TIER_INFO = BODY_KEYS["tier_info"]
_FAN_LEVEL_NAME = BODY_KEYS["tier_title"]
_CURRENT_LEVEL = TIER_KEYS["tier_current_level"]
_TITLE = LEVEL_KEYS["title"]
_SCORES = tuple(field.key for field in TIER_INFO if field.attribute == "tier_score")


def check(snapshot: Any) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless the snapshot keeps the contract.

    That is: on every level exactly the published keys in the published order; each value of its type, a verified mobile
    number as epoch seconds; what must be null together is; all members null without a current tier; both scores equal;
    and the level's name the title of the current tier.
    """
    _check_members("", snapshot, BODY)
    tier = snapshot[_TIER_INFO]
    _check_tier(tier)
    if snapshot[_FAN_LEVEL_NAME] != (tier[_CURRENT_LEVEL] and tier[_CURRENT_LEVEL][_TITLE]):
        raise PayloadError(f"{_FAN_LEVEL_NAME} must be the title of {_TIER_INFO}.{_CURRENT_LEVEL}.")


def _check_tier(tier: dict[str, Any]) -> None:
    if tier[_CURRENT_LEVEL] is None:
        for key, value in tier.items():
            if value is not None:
                raise PayloadError(f"{_TIER_INFO}.{key} must be null without a tier; found {type_name(value)}.")
    for first, second in NULL_TOGETHER:
        if (tier[TIER_KEYS[first]] is None) != (tier[TIER_KEYS[second]] is None):
            raise PayloadError(f"{_TIER_INFO}: {TIER_KEYS[first]} and {TIER_KEYS[second]} must be null together.")
    if len({tier[key] for key in _SCORES}) > 1:
        raise PayloadError(f"{_TIER_INFO}: {' and '.join(_SCORES)} must be equal.")


def _check_members(path: str, value: Any, fields: tuple[Field, ...]) -> None:
    where = path.removesuffix(".") or "The body"
    if not isinstance(value, dict):
        raise PayloadError(f"{where} must be an object; found {type_name(value)}.")
    keys = [field.key for field in fields]
    if missing := [key for key in keys if key not in value]:
        raise PayloadError(f"{where} lacks {', '.join(missing)}.")
    if len(value) > len(keys):
        raise PayloadError(f"{where} has {len(value) - len(keys)} key(s) that the contract does not know.")
    if list(value) != keys:
        raise PayloadError(f"{where} must keep the published order of its keys.")
    for field in fields:
        _check_value(path + field.key, value[field.key], field)


def _check_value(path: str, value: Any, field: Field) -> None:
    if value is not None:
        if field.max_length is not None:
            limited_text(path, value, limit=field.max_length)
        _CHECKS[field.kind](path, value)
    elif not field.nullable:
        raise PayloadError(f"{path} must not be null.")


def _flag(path: str, value: Any) -> None:
    if integer(path, value) not in (0, 1):
        raise PayloadError(f"{path} must be 0 or 1; found another number.")


def _text_flag(path: str, value: Any) -> None:
    if text(path, value) not in ("0", "1"):
        raise PayloadError(f'{path} must be the text "0" or "1"; found another text.')


def _instant(path: str, value: Any) -> None:
    if _INSTANT.fullmatch(text(path, value)):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return
    raise PayloadError(f"{path} must be a moment such as 2017-03-23T20:00:00Z; found another text.")


def _event(path: str, value: Any) -> None:
    if text(path, value) not in EVENTS:
        raise PayloadError(f"{path} must be one of {', '.join(EVENTS)}; found another text.")


def _nothing(path: str, value: Any) -> None:
    raise PayloadError(f"{path} must be null; found {type_name(value)}.")


def _custom_data(path: str, value: Any) -> None:
    if custom_data(path, value) is None:
        raise PayloadError(f"{path} must be null where it is empty.")


_CHECKS: dict[Kind, Callable[[str, Any], object]] = {
    Kind.TEXT: text,
    Kind.INTEGER: integer,
    Kind.NUMERIC: integer,
    Kind.COUNT: count,
    Kind.DAYS: count,
    Kind.FLAG: _flag,
    Kind.TEXT_FLAG: _text_flag,
    Kind.TIMESTAMP: integer,
    Kind.VERIFIED: integer,
    Kind.INSTANT: _instant,
    Kind.EVENT: _event,
    Kind.NOTHING: _nothing,
    Kind.CUSTOM_DATA: _custom_data,
    Kind.TIER_INFO: lambda path, value: _check_members(path + ".", value, TIER_INFO),
    Kind.LEVEL: lambda path, value: _check_members(path + ".", value, LEVEL),
}
