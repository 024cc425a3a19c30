"""Copy values from an auth user to the linked member: the values that a save of the user changed.

A save with ``update_fields`` copies the values that it names, if the member's values differ. A full save writes
every column, most of them unchanged, so it copies only the values that it changed: a new password must not replace the
member's name by the empty name of the user.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from live_push import conf

from . import UserProfile
from .sequences import STEP

logger = logging.getLogger("live_push.models.linked_user")

EMPTY = (None, "")

CUT_IF_TOO_LONG = frozenset({"first_name", "middle_name", "last_name"})
"""Attributes whose value is cut if it is too long. All others are set to null instead, because the beginning of an
e-mail address or of a user name may belong to somebody else."""

_REMEMBERED = "_live_push_remembered"


@dataclass(frozen=True, slots=True)
class UserChange:
    """A member to push, and the values to write first.

    ``values`` is empty if only columns changed that the payload serializer itself reads from the user.
    """

    profile_id: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a member and of the linked user. ``held`` maps a key to the user's and the member's value."""

    profile_id: int
    held: Mapping[str, tuple[Any, Any]]


def remember(user: models.Model, update_fields: Collection[str] | None, *, columns: Iterable[str], using: str) -> None:
    """Keep on the user object what the rows hold before a full save, for :func:`changed_by_save`.

    ``columns`` are the further columns of the payload serializer. Those that begin with ``user__`` are watched, too.
    """
    # With deferred fields, Django adds update_fields to the save itself.
    is_full = update_fields is None or bool(user.get_deferred_fields())
    user_id = _user_id(user)
    before = _read(_watched(columns), using=using, user=user_id) if is_full and user_id is not None else None
    # A list, because a receiver of the host project may save the user again before this save ends.
    vars(user).setdefault(_REMEMBERED, []).append(before)


def changed_by_save(
    user: models.Model, update_fields: Collection[str] | None, *, columns: Iterable[str], using: str
) -> UserChange | None:
    """Return what a save of the user changes for the linked member, or ``None``."""
    remembered: list[_Rows | None] = vars(user).get(_REMEMBERED) or [None]
    before = remembered.pop()
    if before is None and update_fields is None:
        # The user is new, or has no member.
        return None
    watched = _watched(columns)
    written = [key for key, source in watched.items() if update_fields is None or _is_written(source, update_fields)]
    now = _read(watched, using=using, user=_user_id(user)) if written else None
    if now is None:
        return None
    # A difference between user and member that this save did not cause stays.
    changed = [key for key in written if before is None or before.held[key] != now.held[key]]
    values = _values(now, changed)
    is_pushed = bool(values) or any(key.startswith("user__") for key in changed)
    return UserChange(now.profile_id, values) if is_pushed else None


def changed_by_link(profile_id: int, *, using: str) -> UserChange | None:
    """Return what changes for a member who was just linked to a user, or ``None``.

    An empty value of the user does not replace the member's own.
    """
    rows = _read(_watched(()), using=using, pk=profile_id)
    if rows is None:
        return None
    return UserChange(
        profile_id, _values(rows, [key for key, (value, _own) in rows.held.items() if value not in EMPTY])
    )


def write(change: UserChange, *, using: str) -> None:
    """Write the values to the member's row, and step its sequence.

    A unique value that another member has is logged and left out.
    """
    values = dict(change.values)
    member = UserProfile._base_manager.using(using).filter(pk=change.profile_id)
    unique = [attribute for attribute in values if _column(attribute).unique]
    try:
        with transaction.atomic(using=using, savepoint=bool(unique)):
            member.update(**values, **STEP)
    except IntegrityError:
        if not unique:
            raise
        for attribute in unique:
            _warn(change.profile_id, attribute, "belongs to another member; this member's own was kept")
            del values[attribute]
        member.update(**values, **STEP)


def _user_id(user: models.Model) -> Any:
    # A model that inherits from the user model may have a primary key of its own.
    return getattr(user, get_user_model()._meta.pk.attname)


def _watched(columns: Iterable[str]) -> dict[str, str]:
    """Return the user's attributes that a body depends on, by the member's attribute or the serializer's column."""
    own = {field.name for field in get_user_model()._meta.concrete_fields}
    read = {column: column.split("__")[1] for column in columns if column.startswith("user__")}
    return {**conf.current().USER_FIELDS, **{column: source for column, source in read.items() if source in own}}


def _is_written(source: str, update_fields: Collection[str]) -> bool:
    field: Any = get_user_model()._meta.get_field(source)
    # The database computes a generated column anew in every UPDATE.
    return field.name in update_fields or field.attname in update_fields or getattr(field, "generated", False)


def _read(watched: Mapping[str, str], *, using: str, **lookups: Any) -> _Rows | None:
    """Read both rows with one statement. The user object is not used: it may hold an expression instead of a value."""
    paths = {key: f"user__{source}" for key, source in watched.items()}
    attributes = [key for key in watched if not key.startswith("user__")]
    members = UserProfile._base_manager.using(using).filter(**lookups)
    for row in members.values("pk", *attributes, *set(paths.values())):
        return _Rows(row["pk"], {key: (row[path], row.get(key)) for key, path in paths.items()})
    return None


def _values(rows: _Rows, keys: Iterable[str]) -> dict[str, Any]:
    """Return the user's values that differ from the member's, converted for the member's columns."""
    values: dict[str, Any] = {}
    for attribute in keys:
        if attribute.startswith("user__"):
            continue
        given, own = rows.held[attribute]
        try:
            converted = _converted(attribute, given)
        except (ValidationError, TypeError, ValueError):
            _warn(rows.profile_id, attribute, "can't be stored there; the member's own was kept")
            continue
        value = _shortened(attribute, converted)
        if value == own:
            continue
        if value != converted:
            _warn(rows.profile_id, attribute, f"is too long; {'null was stored' if value is None else 'it was cut'}")
        values[attribute] = value
    return values


def _converted(attribute: str, value: Any) -> Any:
    column = _column(attribute)
    if value in EMPTY and column.null:
        return None
    value = column.to_python(value)
    if not isinstance(column, models.CharField):
        column.clean(value, None)
    return value


def _shortened(attribute: str, value: Any) -> Any:
    most = _column(attribute).max_length
    if not isinstance(value, str) or most is None or len(value) <= most:
        return value
    return value[:most] if attribute in CUT_IF_TOO_LONG else None


def _column(attribute: str) -> Any:
    return UserProfile._meta.get_field(attribute)


def _warn(profile_id: int, attribute: str, what: str) -> None:
    # Without the value, which is personal data.
    logger.warning("Profile %s: the linked user's value for %s %s.", profile_id, attribute, what)
