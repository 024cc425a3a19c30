"""Encode snapshots as JSON.

A snapshot becomes the body for one endpoint (:func:`encode`), the bytes stored with a push (:func:`dump`, read back by
:func:`load`), or a digest that shows whether two snapshots differ (:func:`snapshot_digest`), or two bodies for an
endpoint (:func:`content_digest`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import BODY_KEYS, LEVEL, TIER_INFO, TIER_KEYS, TIMEFRAME_SCORE_ALIAS, Kind
from .options import PayloadOptions

_TIER_INFO = BODY_KEYS["tier_info"]
_NEXT_LEVEL = TIER_KEYS["tier_next_level"]
_TIMEFRAME_SCORE = TIER_KEYS["tier_timeframe_score"]
_DATE_MOBILE_VERIFIED = BODY_KEYS["date_mobile_verified"]
_THIRD_PARTY_ID = BODY_KEYS["third_party_id"]
_DAYS = frozenset(field.key for field in TIER_INFO if field.kind is Kind.DAYS)

_JSON_FORMAT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
_IN_ORDER = json.JSONEncoder(**_JSON_FORMAT)
_SORTED = json.JSONEncoder(**_JSON_FORMAT, sort_keys=True)
_NO_OPTIONS = PayloadOptions()
_VERIFIED = f'"{_DATE_MOBILE_VERIFIED}":'.encode()
_NOT_VERIFIED = _VERIFIED + b"null,"


def encode(snapshot: Mapping[str, Any], options: PayloadOptions = _NO_OPTIONS) -> bytes:
    """Return the body for an endpoint with these options.

    The body is UTF-8 JSON without insignificant whitespace, with non-ASCII characters unescaped. The same snapshot and
    options always give the same bytes. Raises :class:`~live_push.exceptions.PayloadError` for values that JSON or UTF-8
    can't represent, such as NaN or a lone surrogate.
    """
    return _to_json(_body(snapshot, options), _IN_ORDER)


def _body(snapshot: Mapping[str, Any], options: PayloadOptions) -> dict[str, Any]:
    body = dict(snapshot)
    if body[_DATE_MOBILE_VERIFIED] is not None and not options.mobile_verified_as_date:
        body[_DATE_MOBILE_VERIFIED] = 1
    if options.timeframe_score_alias or options.null_levels_as_objects:
        body[_TIER_INFO] = _tier_info(body[_TIER_INFO], options)
    for key in options.withheld_fields:
        body[key] = None
    return body


def dump(snapshot: Mapping[str, Any]) -> bytes:
    """Return the bytes to store with a push: the same encoding as :func:`encode`, without any endpoint's options."""
    return _to_json(snapshot, _IN_ORDER)


def load(stored: bytes | memoryview) -> dict[str, Any]:
    """Return the snapshot that :func:`dump` encoded.

    Raises :class:`~live_push.exceptions.PayloadError` if the bytes are not a JSON object.
    """
    try:
        snapshot = json.loads(bytes(stored))
    except ValueError:
        raise PayloadError(Message("snapshot_not_json")) from None
    if not isinstance(snapshot, dict):
        raise PayloadError(Message("snapshot_not_object"))
    return snapshot


def encode_stored(stored: bytes | memoryview, options: PayloadOptions = _NO_OPTIONS) -> bytes:
    """Return the body for an endpoint from a stored snapshot: ``encode(load(stored), options)``.

    Most endpoints have no options and most members no verified mobile number. Then the body equals the stored bytes,
    which are returned without being parsed.
    """
    raw = bytes(stored)
    # Custom data may have a key of the same name. With two of them, the search can't find the body's key.
    if options == _NO_OPTIONS and _NOT_VERIFIED in raw and raw.count(_VERIFIED) == 1:
        return raw
    return encode(load(raw), options)


def snapshot_digest(snapshot: Mapping[str, Any], *, ignore_third_party_id: bool = False) -> str:
    """Return a SHA-256 digest of the snapshot, as 64 hexadecimal digits.

    Snapshots with the same content have the same digest. The order of keys does not count, because a database may
    reorder the keys of custom data. Endpoint options do not count, and neither do the ``daysUntil…`` members, which
    change every day without an update of the profile.

    ``ignore_third_party_id`` leaves the third-party id out. Use it for the endpoint whose answer supplied the id:
    capturing the id causes no push, so the endpoint's last accepted snapshot still lacks it.
    """
    body = {**snapshot, _TIER_INFO: _without_days(snapshot[_TIER_INFO])}
    if ignore_third_party_id:
        del body[_THIRD_PARTY_ID]
    return hashlib.sha256(_to_json(body, _SORTED)).hexdigest()


def content_digest(
    snapshot: Mapping[str, Any], options: PayloadOptions, *, ignored_keys: Collection[str], version: int
) -> str:
    """Return a SHA-256 digest of the body for an endpoint, as 64 hexadecimal digits.

    The top-level keys ``ignored_keys`` and the ``daysUntil…`` members do not count. ``version`` is part of the digest:
    digests of different versions differ.
    """
    body = _body(snapshot, options)
    body[_TIER_INFO] = _without_days(body[_TIER_INFO])
    counted = {key: value for key, value in body.items() if key not in ignored_keys}
    return hashlib.sha256(b"%d " % version + _to_json(counted, _SORTED)).hexdigest()


def _without_days(tier_info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tier_info.items() if key not in _DAYS}


def _tier_info(members: Mapping[str, Any], options: PayloadOptions) -> dict[str, Any]:
    tier_info = {}
    for key, value in members.items():
        tier_info[key] = value
        if key == _TIMEFRAME_SCORE and options.timeframe_score_alias:
            tier_info[TIMEFRAME_SCORE_ALIAS.key] = value
    if tier_info[_NEXT_LEVEL] is None and options.null_levels_as_objects:
        tier_info[_NEXT_LEVEL] = dict.fromkeys(field.key for field in LEVEL)
    return tier_info


def _to_json(body: Mapping[str, Any], encoder: json.JSONEncoder) -> bytes:
    # Raise "from None", because the errors of json and of the UTF-8 codec quote the value, which may be personal data.
    try:
        return encoder.encode(body).encode()
    except UnicodeEncodeError:
        raise PayloadError(Message("half_character", key=_key_with_lone_surrogate(body))) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(Message("body_not_json", kind=type(error).__name__)) from None


def _key_with_lone_surrogate(body: Mapping[str, Any]) -> str:
    return next((key for key, value in body.items() if not _is_encodable(value)), "A key")


def _is_encodable(value: Any) -> bool:
    try:
        _IN_ORDER.encode(value).encode()
    except UnicodeEncodeError:
        return False
    return True
