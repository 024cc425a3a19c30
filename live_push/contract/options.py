"""The payload options of an endpoint.

An option adds a key to the body or changes a value. No option removes or renames a published key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from live_push.exceptions import PayloadError
from live_push.rules.messages import Message

from .fields import BODY, BODY_KEYS

_NEVER_WITHHELD = (BODY_KEYS["id"], BODY_KEYS["tier_info"])
_KEYS = tuple(field.key for field in BODY)
_MAY_BE_WITHHELD = frozenset(_KEYS) - frozenset(_NEVER_WITHHELD)


@dataclass(frozen=True)
class PayloadOptions:
    """The payload options of an endpoint, all off by default.

    ``timeframe_score_alias``
        ``tierInfo`` has the timeframe score a second time, as ``timeframe_score``, the other published spelling.
    ``null_levels_as_objects``
        ``nextLevel`` is an object with three null members instead of null. Published templates read
        ``nextLevel.minValue`` without checking for null. ``currentLevel`` of a member without a tier stays null.
    ``mobile_verified_as_date``
        ``dateMobileVerified`` is the time of verification in epoch seconds instead of 1.
    ``withheld_fields``
        Top-level keys whose value is sent as null. Other members with the same information are still sent: if
        ``fanLevelName`` is withheld, ``tierInfo`` still has the title of the tier.

    Raises :class:`~live_push.exceptions.PayloadError` if a key can't be withheld. A misspelt key must not be ignored,
    because the client would then receive data that it must not get.
    """

    timeframe_score_alias: bool = False
    null_levels_as_objects: bool = False
    mobile_verified_as_date: bool = False
    withheld_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_withheld(self.withheld_fields)


def ignored_by_default() -> list[str]:
    """Return the keys whose change alone is not pushed to endpoints that get only changes: the time of the update."""
    return [BODY_KEYS["date_last_updated"]]


def check_ignored(keys: Iterable[str]) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless every key is a top-level key of the body."""
    for key in keys:
        if key not in _KEYS:
            raise PayloadError(Message("ignored_unknown", key=repr(key), nearest=repr(_nearest(key))))


def _nearest(key: str) -> str:
    return get_close_matches(key, _KEYS, n=1, cutoff=0)[0]


def check_withheld(keys: Iterable[str]) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless every key is a top-level key that may be withheld."""
    if not isinstance(keys, list | tuple | set | frozenset):
        raise PayloadError(Message("withheld_type", type=type(keys).__name__))
    for key in keys:
        if key in _NEVER_WITHHELD:
            raise PayloadError(Message("withheld_needed", key=key, needed=" and ".join(_NEVER_WITHHELD)))
        if not isinstance(key, str) or key not in _MAY_BE_WITHHELD:
            raise PayloadError(Message("withheld_unknown", key=repr(key)))
