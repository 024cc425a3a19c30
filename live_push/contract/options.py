"""What one endpoint may change about its body: always additive, or a value; no documented key is removed or renamed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from live_push.exceptions import PayloadError

from .fields import BODY, BODY_KEYS

_NEVER_WITHHELD = (BODY_KEYS["id"], BODY_KEYS["tier_info"])
_MAY_BE_WITHHELD = frozenset(field.key for field in BODY) - frozenset(_NEVER_WITHHELD)


@dataclass(frozen=True)
class PayloadOptions:
    """The payload options of an endpoint, all off by default.

    - ``timeframe_score_alias``: the tier block carries the timeframe score a second time, in its other published
      spelling.
    - ``null_levels_as_objects``: where the next level would be null, an object whose three members are null, for
      published templates that read its lower bound unguarded. The current level of a member without a tier stays null.
    - ``mobile_verified_as_date``: epoch seconds where a verified mobile number is otherwise told by 1.
    - ``withheld_fields``: top-level keys whose value is sent as null. Only the named key: a copy of the same fact
      elsewhere (the name of the tier inside the tier block) stays.

    Raises :class:`~live_push.exceptions.PayloadError` for a key that can't be withheld: a misspelt one, silently
    ignored, would send what the client must not get.
    """

    timeframe_score_alias: bool = False
    null_levels_as_objects: bool = False
    mobile_verified_as_date: bool = False
    withheld_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_withheld(self.withheld_fields)


def check_withheld(keys: Iterable[str]) -> None:
    """Raise :class:`~live_push.exceptions.PayloadError` unless every key is a top-level key that may be withheld."""
    if not isinstance(keys, list | tuple | set | frozenset):
        raise PayloadError(f"Withheld fields must be a list of keys; found {type(keys).__name__}.")
    for key in keys:
        if key in _NEVER_WITHHELD:
            raise PayloadError(
                f"{key} can't be withheld: a client needs {' and '.join(_NEVER_WITHHELD)} to use a push."
            )
        if not isinstance(key, str) or key not in _MAY_BE_WITHHELD:
            raise PayloadError(f"{key!r} is no top-level key of the body, so it can't be withheld.")
