"""Convert single values of a row to their form in the body.

Every converter takes the key, for its error message, and a value that is not ``None``. It raises
:class:`~live_push.exceptions.PayloadError` for a value of another type or out of range. The message has the type that
was found, never the value, which may be personal data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import EVENTS, INTEGER_MAX, INTEGER_MIN, Field, Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NUMERIC = re.compile(r"[+-]?[0-9]{1,19}")


def type_name(value: object) -> str:
    """Return the name of the value's type, for error messages; ``"null"`` for ``None``."""
    return "null" if value is None else type(value).__name__


def text(key: str, value: Any) -> str:
    """Return text unchanged."""
    if not isinstance(value, str):
        raise PayloadError(Message("value_text", key=key, type=type_name(value)))
    return value


def limited_text(key: str, value: Any, *, limit: int) -> str:
    """Return text of at most ``limit`` characters unchanged."""
    if len(text(key, value)) > limit:
        raise PayloadError(Message("value_length", key=key, most=limit, count=len(value)))
    return value  # type: ignore[no-any-return]


def integer(key: str, value: Any) -> int:
    """Return a whole number in the signed 64-bit range unchanged. A boolean is not a number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise PayloadError(Message("value_integer", key=key, type=type_name(value)))
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise PayloadError(Message("value_64_bits", key=key))
    return value


def count(key: str, value: Any) -> int:
    """Return a whole number from 0 unchanged."""
    if integer(key, value) < 0:
        raise PayloadError(Message("value_negative", key=key))
    return value  # type: ignore[no-any-return]


def numeric(key: str, value: Any) -> int:
    """Return a whole number, converted if it is written as text: ``"7"`` gives 7."""
    if isinstance(value, str):
        # int() alone would also accept underscores, blanks and the digits of other scripts.
        if not _NUMERIC.fullmatch(value):
            raise PayloadError(Message("value_numeric", key=key))
        value = int(value)
    return integer(key, value)


def flag(key: str, value: Any) -> int:
    """Return a boolean as 0 or 1."""
    if not isinstance(value, bool):
        raise PayloadError(Message("value_boolean", key=key, type=type_name(value)))
    return 1 if value else 0


def text_flag(key: str, value: Any) -> str:
    """Return a boolean as the text ``"0"`` or ``"1"``."""
    return "1" if flag(key, value) else "0"


def timestamp(key: str, value: Any) -> int:
    """Return an aware datetime as epoch seconds, rounded down; negative before 1970."""
    # datetime.timestamp() returns a float, and int() would round it up before 1970.
    return (aware(key, value) - _EPOCH) // _SECOND


def iso_8601(key: str, value: Any) -> str:
    """Return an aware datetime as ISO 8601 text in UTC, rounded down to the second: ``2017-03-23T20:00:00Z``."""
    try:
        moment = aware(key, value).astimezone(UTC)
    except OverflowError:
        raise PayloadError(Message("value_years", key=key)) from None
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def aware(key: str, value: Any) -> datetime:
    """Return a datetime with a time zone unchanged."""
    if not isinstance(value, datetime):
        raise PayloadError(Message("value_datetime", key=key, type=type_name(value)))
    if value.utcoffset() is None:
        raise PayloadError(Message("value_time_zone", key=key))
    return value


def event(key: str, value: Any) -> str:
    """Return the name of a tier event in lower case."""
    name = text(key, value).lower()
    if name not in EVENTS:
        raise PayloadError(Message("value_choice", key=key, known=", ".join(EVENTS)))
    return name


def custom_data(key: str, value: Any) -> dict[str, Any] | None:
    """Return an object of text keys and scalar values unchanged; ``None`` for an empty object."""
    if not isinstance(value, dict):
        raise PayloadError(Message("value_object", key=key, type=type_name(value)))
    for name, item in value.items():
        if not isinstance(name, str):
            raise PayloadError(Message("value_text_keys", key=key, type=type_name(name)))
        _check_scalar(key, item)
    return value or None


def _check_scalar(key: str, item: Any) -> None:
    if item is None or isinstance(item, str | bool):
        return
    if isinstance(item, int):
        integer(f"A value of {key}", item)
    elif not isinstance(item, float):
        raise PayloadError(Message("value_scalars", key=key, type=type_name(item)))
    elif not math.isfinite(item):
        raise PayloadError(Message("value_finite", key=key))


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
    Kind.INSTANT: iso_8601,
    Kind.EVENT: event,
    Kind.CUSTOM_DATA: custom_data,
}
"""The converter of each kind. The missing kinds are always null or are made from several columns."""


def converter(field: Field) -> Callable[[str, Any], Any]:
    """Return the converter for a field of the table."""
    if field.max_length is not None:
        return partial(limited_text, limit=field.max_length)
    return CONVERTERS[field.kind]
