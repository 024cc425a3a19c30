"""Tracked columns: ``save()`` writes them only if they were changed on this instance.

Other code changes them too: a client's answer sets the third-party id, an award changes the counters, and a save of the
linked user changes the name. An instance that was read before such a change must not revert it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Self, TypeVar

from django.db import models
from django.db.models import Model

_Set = TypeVar("_Set", contravariant=True)
_Get = TypeVar("_Get", covariant=True)


class CurrentValue:
    """A column's current value in an UPDATE.

    It means the same as ``F()``, but needs no resolving, which would cost time for a dozen columns on each save.

    It is not a full expression. From Django 6.0 on, a save reads the result of each expression back. If the database
    can't return the results, Django reads each with a further query when the attribute is used.
    """

    def __init__(self, column: str) -> None:
        self._column = column

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return connection.ops.quote_name(self._column), []


class Tracked:
    """A mixin for a tracked column. Its model must be a :class:`RemembersStored`."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        # A migration's historical model has the columns but is not a RemembersStored, so it writes all its values.
        remembers = isinstance(model_instance, RemembersStored)
        if add or not remembers or model_instance.is_changed_here(self.attname):  # type: ignore[attr-defined]
            return super().pre_save(model_instance, add)  # type: ignore[misc]
        return CurrentValue(self.column)  # type: ignore[attr-defined]


class TrackedBigIntegerField(Tracked, models.BigIntegerField):  # type: ignore[type-arg]
    """A tracked whole number."""


class TrackedDateField(Tracked, models.DateField):  # type: ignore[type-arg]
    """A tracked date."""


class TrackedDateTimeField(Tracked, models.DateTimeField):  # type: ignore[type-arg]
    """A tracked date and time."""


class TrackedBooleanField(Tracked, models.BooleanField):  # type: ignore[type-arg]
    """A tracked flag."""


class TrackedOneToOneField(Tracked, models.OneToOneField[_Set, _Get]):
    """A tracked link to one other row. It is generic, so that mypy finds the model of the other row."""


class RemembersStored(models.Model):
    """Base of a model with tracked columns. It remembers their values from when the row was last read or written."""

    _stored: Mapping[str, Any] = MappingProxyType({})

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        instance: Self = super().from_db(*args, **kwargs)
        instance.remember_stored()
        return instance

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        names = None if fields is None else list(fields)
        super().refresh_from_db(using, names, from_queryset)
        self.remember_stored(names)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        names = None if update_fields is None else set(update_fields)
        super().save(*args, update_fields=names, **kwargs)
        self.remember_stored(names)

    def is_changed_here(self, name: str) -> bool:
        """Return whether the tracked column was changed on this instance since the row was read or written."""
        value = self.__dict__.get(name, models.DEFERRED)
        if value is models.DEFERRED:
            return False
        # An expression is a change each time, although two equal expressions compare as equal.
        return hasattr(value, "resolve_expression") or value != self._stored.get(name, models.DEFERRED)

    def remember_stored(self, names: Iterable[str] | None = None) -> None:
        """Remember the values of these columns (by default all tracked ones) as those that the row holds."""
        tracked, held = tracked_columns(type(self)), self.__dict__
        if names is not None:
            chosen = set(names)
            # A foreign key may be named with or without its "_id".
            tracked = {attname: name for attname, name in tracked.items() if not chosen.isdisjoint((attname, name))}
        # A new dictionary, because a copy of the instance shares the old one.
        self._stored = {**self._stored, **{attname: held[attname] for attname in tracked if attname in held}}


@lru_cache(maxsize=64)
def tracked_columns(model: type[Model]) -> Mapping[str, str]:
    """Return the names of a model's tracked columns by their attributes."""
    return {field.attname: field.name for field in model._meta.concrete_fields if isinstance(field, Tracked)}
