"""Turn a profile's row into its snapshot.

A *snapshot* is the body of the contract as a dictionary, in the published order, with one difference: if the mobile
number is verified, ``dateMobileVerified`` is the time of verification in epoch seconds instead of 1. The snapshot thus
has everything that the options of any endpoint need, and the body for an endpoint can be made from it at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import BODY, BODY_KEYS, Kind
from .tier_info import tier_info
from .values import aware, converter, type_name

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
    """The payload serializer: turn one row of a ``values()`` query into a snapshot.

    A host project may subclass it to supply keys from elsewhere. Example::

        class OurPayload(ProfilePayload):
            columns = ("user__email",)

            def snapshot(self, row):
                return super().snapshot({**row, "email_address": row["user__email"]})

    The result is checked with :func:`~live_push.contract.conformity.check_snapshot` before it is stored.
    """

    columns: tuple[str, ...] = ()
    """Further columns to read, as ORM paths from the profile. A second statement of each save reads them."""

    def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the snapshot of one profile.

        The row has these columns:

        - One column per profile attribute. Flags are booleans, dates are aware datetimes.
        - The tier's columns, ``tier_…``. Without a tier, ``tier_title`` is ``None``.
        - ``monthly_points_period`` and ``weekly_points_period``: the first day of the month and the Monday of the week
          to which the points belong, as dates. If the period has passed, the points are sent as 0. With ``None`` they
          are sent unchanged.
        - ``tier_time_zone``: an IANA name; ``None`` means UTC.
        - ``now``: the time of the database.

        Raises :class:`~live_push.exceptions.PayloadError`, which names the key and the type that was found.
        """
        body: dict[str, Any] = dict.fromkeys(_KEYS)
        try:
            for key, attribute, convert, nullable in _STEPS:
                value = row[attribute]
                if value is not None:
                    body[key] = convert(key, value)
                elif not nullable:
                    raise PayloadError(Message("value_required", key=key))
            body[_TIER_INFO] = tier_info(row)
            if row["monthly_points_period"] is not None or row["weekly_points_period"] is not None:
                _clear_past_periods(body, row)
        except KeyError as column:
            raise PayloadError(Message("column_missing", column=str(column))) from None
        return body


def _clear_past_periods(body: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Set the points of a past month or week to 0. Points of a period that has not begun yet are kept."""
    today = aware("now", row["now"]).astimezone(_zone(row["tier_time_zone"])).date()
    if _is_before(row["monthly_points_period"], today.replace(day=1)):
        body[_MONTHLY_POINTS] = 0
    if _is_before(row["weekly_points_period"], today - timedelta(days=today.weekday())):
        body[_WEEKLY_POINTS] = 0


def _is_before(period: Any, current: date) -> bool:
    if period is None:
        return False
    # isinstance() would accept a datetime, which can't be compared with a date.
    if type(period) is not date:
        raise PayloadError(Message("period_type", type=type_name(period)))
    return period < current


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo("UTC" if name is None else name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        # ZoneInfo raises different errors for an unknown name, a name that is a bad path or a folder, and a non-text.
        raise PayloadError(Message("tier_time_zone")) from None
