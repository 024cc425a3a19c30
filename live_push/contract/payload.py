"""A profile's row → its snapshot.

The *snapshot* is the body of the contract as a dictionary, in the published order, with one difference: where the
mobile number is verified it holds the epoch seconds of that day instead of 1. So it is the richest form, and whatever
an endpoint's options ask for can be told from it later, at any redelivery.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from live_push.exceptions import PayloadError

from .conformity import check
from .encoding import body_of, digest, encode, load, store
from .fields import BODY, BODY_KEYS, Kind
from .options import PayloadOptions, check_withheld
from .tier_info import tier_event, tier_info
from .values import aware, check_custom_data, converter, type_name

__all__ = [
    "PayloadOptions",
    "ProfilePayload",
    "body_of",
    "check",
    "check_custom_data",
    "check_withheld",
    "digest",
    "encode",
    "load",
    "store",
    "tier_event",
]

_KEYS = tuple(field.key for field in BODY)
_STEPS = tuple(
    (field.key, field.attribute, converter(field), field.nullable)
    for field in BODY
    if field.kind not in (Kind.NOTHING, Kind.TIER_INFO)
)
_TIER_INFO = BODY_KEYS["tier_info"]
_MONTHLY_POINTS = BODY_KEYS["monthly_points"]
_WEEKLY_POINTS = BODY_KEYS["weekly_points"]


class ProfilePayload:
    """The payload serializer: one row of a ``values()`` query in, one snapshot out.

    A host's subclass may name further ``columns`` (ORM paths from the profile, such as ``"user__email"``) to be read
    with the row, and override :meth:`snapshot`: change a copy of the row and hand it to ``super()``, or change the
    snapshot that comes back. What it returns is judged by :func:`check`.
    """

    columns: tuple[str, ...] = ()

    def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The snapshot of one profile.

        The row has one key per profile attribute (flags are booleans, dates aware datetimes), the flat tier block
        (``tier_title`` is ``None`` without a tier), ``monthly_points_period`` and ``weekly_points_period`` (first day
        of the month, Monday of the week that the points belong to, or ``None``: points as they are),
        ``tier_time_zone`` (IANA name, ``None`` for UTC) and ``now``, the database's clock.

        Raises :class:`~live_push.exceptions.PayloadError` with the key and the type that was found.
        """
        body: dict[str, Any] = dict.fromkeys(_KEYS)
        try:
            for key, attribute, convert, nullable in _STEPS:
                value = row[attribute]
                if value is not None:
                    body[key] = convert(key, value)
                elif not nullable:
                    raise PayloadError(f"{key} must not be null.")
            body[_TIER_INFO] = tier_info(row)
            if row["monthly_points_period"] is not None or row["weekly_points_period"] is not None:
                _forget_past_periods(body, row)
        except KeyError as column:
            raise PayloadError(f"The row lacks {column}.") from None
        return body


def _forget_past_periods(body: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Points of a month or week that has passed read as 0; one that has not begun yet keeps its points."""
    today = aware("now", row["now"]).astimezone(_zone(row["tier_time_zone"])).date()
    if _is_before(row["monthly_points_period"], today.replace(day=1)):
        body[_MONTHLY_POINTS] = 0
    if _is_before(row["weekly_points_period"], today - timedelta(days=today.weekday())):
        body[_WEEKLY_POINTS] = 0


def _is_before(period: Any, current: date) -> bool:
    if period is None:
        return False
    # A datetime is a date to isinstance(), yet can't be compared with one.
    if type(period) is not date:
        raise PayloadError(f"A points period must be a date; found {type_name(period)}.")
    return period < current


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo("UTC" if name is None else name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        # Depending on its shape an unknown name is a missing key, a bad path, a folder or no text at all.
        raise PayloadError("tier_time_zone is no IANA time zone.") from None
