"""Columns that ``save()`` writes only where they were changed on that very instance.

Others move them meanwhile: an answer brings a third-party id, an award moves the counters. A form opened before that,
or an instance kept for a while, must not take it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

from django.db import models
from django.db.models import Model


class AsItIs:
    """A column's own value in an UPDATE: ``F()`` of it, without what it costs each save to resolve a dozen of them."""

    contains_aggregate = contains_over_clause = False

    def __init__(self, column: str) -> None:
        self._column = column

    def resolve_expression(self, *args: Any, **kwargs: Any) -> AsItIs:
        return self

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return connection.ops.quote_name(self._column), []


class Guarded:
    """A mixin for such a column; its model is a :class:`RemembersStored`."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        value = super().pre_save(model_instance, add)  # type: ignore[misc]
        if add or model_instance.is_changed_here(self.attname):  # type: ignore[attr-defined]
            return value
        return AsItIs(self.column)  # type: ignore[attr-defined]


class GuardedBigIntegerField(Guarded, models.BigIntegerField):  # type: ignore[type-arg]
    """A whole number that others move too."""


class GuardedDateField(Guarded, models.DateField):  # type: ignore[type-arg]
    """A day that others move too."""


class RemembersStored(models.Model):
    """Base of a model with guarded columns: remembers what the row held when it was read or written."""

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

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.remember_stored(kwargs.get("update_fields"))

    def is_changed_here(self, name: str) -> bool:
        """Whether the guarded column was set on this very instance since it was read or written."""
        value = self.__dict__.get(name, models.DEFERRED)
        if value is models.DEFERRED:
            return False
        # An expression is a change each time, although two of them compare equal.
        return hasattr(value, "resolve_expression") or value != self._stored.get(name, models.DEFERRED)

    def remember_stored(self, names: Iterable[str] | None = None) -> None:
        """What these columns hold here (by default all) is what the row holds."""
        names = self._guarded_names() if names is None else self._guarded_names() & set(names)
        held = self.__dict__
        # A new dictionary, since a copy of the instance shares the old one.
        self._stored = {**self._stored, **{name: held[name] for name in names if name in held}}

    @classmethod
    def _guarded_names(cls) -> frozenset[str]:
        return frozenset(field.attname for field in cls._meta.concrete_fields if isinstance(field, Guarded))
