"""Check that a snapshot keeps the contract.

A host project may replace the payload serializer. What its serializer returns is checked here before it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import BODY, BODY_KEYS, EVENTS, LEVEL, LEVEL_KEYS, NULL_TOGETHER, TIER_INFO, TIER_KEYS, Field, Kind
from .values import count, custom_data, integer, limited_text, text, type_name

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_TIER_INFO = BODY_KEYS["tier_info"]
_FAN_LEVEL_NAME = BODY_KEYS["tier_title"]
_CURRENT_LEVEL = TIER_KEYS["tier_current_level"]
_TITLE = LEVEL_KEYS["title"]
_SCORES = tuple(field.key for field in TIER_INFO if field.attribute == "tier_score")


def check_snapshot(snapshot: Any) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless the snapshot keeps the contract.

    The rules are:

    - Every object has exactly the published keys, in the published order.
    - Every value has the type of its field. ``dateMobileVerified`` is in epoch seconds.
    - The pairs of :data:`~live_push.contract.fields.NULL_TOGETHER` are both null or both set.
    - Without a current tier, every member of ``tierInfo`` is null.
    - ``tierScore`` and ``score`` are equal.
    - ``fanLevelName`` is the title of the current tier.

    The error names the key and the type that was found, never the value, which may be personal data.
    """
    _check_members("", snapshot, BODY)
    tier = snapshot[_TIER_INFO]
    _check_tier(tier)
    if snapshot[_FAN_LEVEL_NAME] != (tier[_CURRENT_LEVEL] and tier[_CURRENT_LEVEL][_TITLE]):
        raise PayloadError(Message("title_differs", key=_FAN_LEVEL_NAME, level=f"{_TIER_INFO}.{_CURRENT_LEVEL}"))


def without_unknown_keys(snapshot: Any) -> tuple[Any, list[str]]:
    """Return the snapshot without the keys that the contract does not know, and the paths of these keys.

    Don't report the paths for a real member: a key may hold personal data.
    """
    unknown: list[str] = []
    return _known_members("", snapshot, BODY, unknown), unknown


def _known_members(path: str, value: Any, fields: tuple[Field, ...], unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        return value
    kinds = {field.key: field.kind for field in fields}
    unknown += [f"{path}{key}" for key in value if key not in kinds]
    return {
        key: _known_members(f"{path}{key}.", item, _MEMBERS[kinds[key]], unknown) if kinds[key] in _MEMBERS else item
        for key, item in value.items()
        if key in kinds
    }


def _check_tier(tier: dict[str, Any]) -> None:
    if tier[_CURRENT_LEVEL] is None:
        for key, value in tier.items():
            if value is not None:
                raise PayloadError(Message("null_without_tier", key=f"{_TIER_INFO}.{key}", type=type_name(value)))
    for first, second in NULL_TOGETHER:
        if (tier[TIER_KEYS[first]] is None) != (tier[TIER_KEYS[second]] is None):
            raise PayloadError(
                Message("null_together", path=_TIER_INFO, first=TIER_KEYS[first], second=TIER_KEYS[second])
            )
    if len({tier[key] for key in _SCORES}) > 1:
        raise PayloadError(Message("scores_differ", path=_TIER_INFO, keys=" and ".join(_SCORES)))


def _check_members(path: str, value: Any, fields: tuple[Field, ...]) -> None:
    where = path.removesuffix(".") or Message("the_body")
    if not isinstance(value, dict):
        raise PayloadError(Message("value_object", key=where, type=type_name(value)))
    keys = [field.key for field in fields]
    if missing := [key for key in keys if key not in value]:
        raise PayloadError(Message("keys_missing", where=where, keys=", ".join(missing)))
    if len(value) > len(keys):
        raise PayloadError(Message("keys_unknown", where=where, count=len(value) - len(keys)))
    if list(value) != keys:
        raise PayloadError(Message("keys_order", where=where))
    for field in fields:
        _check_value(path + field.key, value[field.key], field)


def _check_value(path: str, value: Any, field: Field) -> None:
    if value is not None:
        if field.max_length is not None:
            limited_text(path, value, limit=field.max_length)
        _CHECKS[field.kind](path, value)
    elif not field.nullable:
        raise PayloadError(Message("value_required", key=path))


def _flag(path: str, value: Any) -> None:
    if integer(path, value) not in (0, 1):
        raise PayloadError(Message("value_flag", key=path))


def _text_flag(path: str, value: Any) -> None:
    if text(path, value) not in ("0", "1"):
        raise PayloadError(Message("value_text_flag", key=path))


def _instant(path: str, value: Any) -> None:
    if _INSTANT.fullmatch(text(path, value)):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return
    raise PayloadError(Message("value_moment", key=path))


def _event(path: str, value: Any) -> None:
    if text(path, value) not in EVENTS:
        raise PayloadError(Message("value_choice", key=path, known=", ".join(EVENTS)))


def _nothing(path: str, value: Any) -> None:
    raise PayloadError(Message("value_null", key=path, type=type_name(value)))


def _custom_data(path: str, value: Any) -> None:
    if custom_data(path, value) is None:
        raise PayloadError(Message("value_empty", key=path))


_MEMBERS = {Kind.TIER_INFO: TIER_INFO, Kind.LEVEL: LEVEL}

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
