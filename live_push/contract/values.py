"""One value of the row → its form on the wire.

Every converter takes the key, for its sentence, and a value that is not ``None``; it raises
:class:`~live_push.exceptions.PayloadError`. A sentence tells the type that was found and never the value: that may be
personal data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from live_push.exceptions import PayloadError

from .fields import BODY_KEYS, EVENTS, INTEGER_MAX, INTEGER_MIN, Field, Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NUMERIC = re.compile(r"[+-]?[0-9]{1,19}")


def type_name(value: object) -> str:
    """The type of a value, as a sentence may tell it."""
    return "null" if value is None else type(value).__name__


def text(key: str, value: Any) -> str:
    """Text as it is."""
    if not isinstance(value, str):
        raise PayloadError(f"{key} must be text; found {type_name(value)}.")
    return value


def limited_text(key: str, value: Any, *, limit: int) -> str:
    """Text of at most ``limit`` characters."""
    if len(text(key, value)) > limit:
        raise PayloadError(f"{key} must have at most {limit} characters; found {len(value)}.")
    return value  # type: ignore[no-any-return]


def integer(key: str, value: Any) -> int:
    """A whole number of at most 64 bits, signed; a boolean is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise PayloadError(f"{key} must be a whole number; found {type_name(value)}.")
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise PayloadError(f"{key} must fit into 64 bits; found a longer number.")
    return value


def count(key: str, value: Any) -> int:
    """A whole number from 0."""
    if integer(key, value) < 0:
        raise PayloadError(f"{key} must be 0 or more; found a negative number.")
    return value  # type: ignore[no-any-return]


def numeric(key: str, value: Any) -> int:
    """A whole number, also where it is written as text."""
    if isinstance(value, str):
        # The pattern comes first: int() also takes underscores, spaces and the digits of other scripts.
        if not _NUMERIC.fullmatch(value):
            raise PayloadError(f"{key} must be a whole number; found text that is none.")
        value = int(value)
    return integer(key, value)


def flag(key: str, value: Any) -> int:
    """A boolean as 0 or 1."""
    if not isinstance(value, bool):
        raise PayloadError(f"{key} must be true or false; found {type_name(value)}.")
    return 1 if value else 0


def text_flag(key: str, value: Any) -> str:
    """A boolean as the text "0" or "1"."""
    return "1" if flag(key, value) else "0"


def timestamp(key: str, value: Any) -> int:
    """An aware datetime as epoch seconds, rounded down; negative before 1970."""
    # By subtraction: timestamp() goes through a float and int() of it rounds up before 1970.
    return (aware(key, value) - _EPOCH) // _SECOND


def instant(key: str, value: Any) -> str:
    """An aware datetime as ISO 8601 in UTC with ``Z``, rounded down to the second."""
    try:
        moment = aware(key, value).astimezone(UTC)
    except OverflowError:
        raise PayloadError(f"{key} must lie in the years 1 to 9999 in UTC.") from None
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def aware(key: str, value: Any) -> datetime:
    """The datetime itself, once it is known to have a time zone."""
    if not isinstance(value, datetime):
        raise PayloadError(f"{key} must be a datetime; found {type_name(value)}.")
    if value.utcoffset() is None:
        raise PayloadError(f"{key} must be a datetime with a time zone; found one without.")
    return value


def event(key: str, value: Any) -> str:
    """The name of a tier event, in lower case."""
    name = text(key, value).lower()
    if name not in EVENTS:
        raise PayloadError(f"{key} must be one of {', '.join(EVENTS)}; found another text.")
    return name


def custom_data(key: str, value: Any) -> dict[str, Any] | None:
    """An object of one level: text keys, scalar values. An empty one becomes null."""
    if not isinstance(value, dict):
        raise PayloadError(f"{key} must be an object; found {type_name(value)}.")
    for name, item in value.items():
        if not isinstance(name, str):
            raise PayloadError(f"{key} must have text keys only; found a key of type {type_name(name)}.")
        _check_scalar(key, item)
    return value or None


def check_custom_data(value: Any) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless a profile may carry this as its custom data."""
    if value is not None:
        custom_data(BODY_KEYS["custom_data"], value)


def _check_scalar(key: str, item: Any) -> None:
    if item is None or isinstance(item, str | bool):
        return
    if isinstance(item, int):
        integer(f"A value of {key}", item)
    elif not isinstance(item, float):
        raise PayloadError(f"{key} must hold texts, numbers, booleans and nulls only; found {type_name(item)}.")
    elif not math.isfinite(item):
        raise PayloadError(f"{key} must hold finite numbers only; found NaN or an infinity.")


CONVERTERS: dict[Kind, Callable[[str, Any], Any]] = {
    Kind.TEXT: text,
    Kind.INTEGER: integer,
    Kind.NUMERIC: numeric,
    Kind.COUNT: count,
    Kind.DAYS: count,
    Kind.FLAG: flag,
    Kind.TEXT_FLAG: text_flag,
    Kind.TIMESTAMP: timestamp,
    Kind.VERIFIED: timestamp,
    Kind.INSTANT: instant,
    Kind.EVENT: event,
    Kind.CUSTOM_DATA: custom_data,
}
"""Converter by kind; kinds without one are not fed by one value of the row."""


def converter(field: Field) -> Callable[[str, Any], Any]:
    """The converter for one field of the table."""
    if field.max_length is not None:
        return partial(limited_text, limit=field.max_length)
    return CONVERTERS[field.kind]
