"""A snapshot → bytes: as sent to one endpoint, as stored, as a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from live_push.exceptions import PayloadError

from .fields import BODY_KEYS, LEVEL, TIER_INFO, TIER_KEYS, TIMEFRAME_SCORE_ALIAS, Kind
from .options import PayloadOptions

_TIER_INFO = BODY_KEYS["tier_info"]
_NEXT_LEVEL = TIER_KEYS["tier_next_level"]
_TIMEFRAME_SCORE = TIER_KEYS["tier_timeframe_score"]
_DATE_MOBILE_VERIFIED = BODY_KEYS["date_mobile_verified"]
_THIRD_PARTY_ID = BODY_KEYS["third_party_id"]
_DAYS = frozenset(field.key for field in TIER_INFO if field.kind is Kind.DAYS)

_FORM: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
_AS_IS = json.JSONEncoder(**_FORM)
_SORTED = json.JSONEncoder(**_FORM, sort_keys=True)
_NO_OPTIONS = PayloadOptions()
_VERIFIED = f'"{_DATE_MOBILE_VERIFIED}":'.encode()
_NOT_VERIFIED = _VERIFIED + b"null,"


def encode(snapshot: Mapping[str, Any], options: PayloadOptions = _NO_OPTIONS) -> bytes:
    """The body for one endpoint: UTF-8 JSON without insignificant whitespace, non-ASCII characters as themselves.

    The same snapshot and options always give the same bytes. Raises :class:`~live_push.exceptions.PayloadError` for
    what JSON or UTF-8 can't carry.
    """
    body = dict(snapshot)
    if body[_DATE_MOBILE_VERIFIED] is not None and not options.mobile_verified_as_date:
        body[_DATE_MOBILE_VERIFIED] = 1
    if options.timeframe_score_alias or options.null_levels_as_objects:
        body[_TIER_INFO] = _tier_info(body[_TIER_INFO], options)
    for key in options.withheld_fields:
        body[key] = None
    return _bytes(body, _AS_IS)


def store(snapshot: Mapping[str, Any]) -> bytes:
    """The snapshot as it is kept beside its push; the same encoding, before any option."""
    return _bytes(snapshot, _AS_IS)


def load(stored: bytes | memoryview) -> dict[str, Any]:
    """The snapshot that :func:`store` was given. Raises :class:`~live_push.exceptions.PayloadError`."""
    try:
        snapshot = json.loads(bytes(stored))
    except ValueError:
        raise PayloadError("A stored snapshot can't be read: it is no JSON.") from None
    if not isinstance(snapshot, dict):
        raise PayloadError("A stored snapshot can't be read: it is no object.")
    return snapshot


def body_of(stored: bytes | memoryview, options: PayloadOptions = _NO_OPTIONS) -> bytes:
    """The body for one endpoint of a stored snapshot: ``encode(load(stored), options)``.

    Where that would change nothing, as with most endpoints and members, it is the stored bytes themselves.
    """
    raw = bytes(stored)
    # A key of custom data may be called the same; then there are two.
    if options == _NO_OPTIONS and _NOT_VERIFIED in raw and raw.count(_VERIFIED) == 1:
        return raw
    return encode(load(raw), options)


def digest(snapshot: Mapping[str, Any], *, ignore_third_party_id: bool = False) -> str:
    """What tells whether two snapshots say the same: 64 hexadecimal digits (SHA-256).

    Counted are all members before any endpoint option, whatever the order of their keys (a database may reorder custom
    data), but for the days left, which change by themselves. The third-party id is left out on demand: for the endpoint
    that gave it, since capturing it pushes nothing.
    """
    body = dict(snapshot)
    body[_TIER_INFO] = {key: value for key, value in body[_TIER_INFO].items() if key not in _DAYS}
    if ignore_third_party_id:
        del body[_THIRD_PARTY_ID]
    return hashlib.sha256(_bytes(body, _SORTED)).hexdigest()


def _tier_info(members: Mapping[str, Any], options: PayloadOptions) -> dict[str, Any]:
    block = {}
    for key, value in members.items():
        block[key] = value
        if key == _TIMEFRAME_SCORE and options.timeframe_score_alias:
            block[TIMEFRAME_SCORE_ALIAS.key] = value
    if block[_NEXT_LEVEL] is None and options.null_levels_as_objects:
        block[_NEXT_LEVEL] = dict.fromkeys(field.key for field in LEVEL)
    return block


def _bytes(body: Mapping[str, Any], encoder: json.JSONEncoder) -> bytes:
    # "from None" throughout: the errors of json and UTF-8 carry the value, which may be personal data.
    try:
        return encoder.encode(body).encode()
    except UnicodeEncodeError:
        raise PayloadError(f"{_with_lone_surrogate(body)} holds half a character (a lone surrogate).") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"The body can't be written as JSON: {type(error).__name__}.") from None


def _with_lone_surrogate(body: Mapping[str, Any]) -> str:
    return next((key for key, value in body.items() if not _is_utf_8(value)), "A key")


def _is_utf_8(value: Any) -> bool:
    try:
        _AS_IS.encode(value).encode()
    except UnicodeEncodeError:
        return False
    return True
