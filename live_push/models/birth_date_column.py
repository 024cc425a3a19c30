"""The column of birth dates, which the contract sends as instants, and its form field."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.expressions import Col
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _

from live_push.rules.messages import Message, message_of
from live_push.rules.translation import validation_error

NOON = time(12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BirthDateFormField(forms.CharField):
    """Accept a date (``1974-07-06``, read as 12:00 UTC) or a date and time (``1974-07-06T20:00:00+00:00``)."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            value = value.astimezone(UTC)
            return value.date().isoformat() if value.timetz() == NOON else value.isoformat()
        return value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return as_birth_moment(text)
        except (ValueError, OverflowError):
            raise ValidationError(_("Enter a date such as 1974-07-06, or a moment with its UTC offset.")) from None


class _BirthMoment(models.DateTimeField):  # type: ignore[type-arg]
    def to_python(self, value: Any) -> Any:
        if value is None or value == "" or isinstance(value, datetime):
            return value or None
        try:
            return as_birth_moment(value)
        except (ValueError, OverflowError) as error:
            raise validation_error(message_of(error)) from None


class BirthDateField(models.Field):  # type: ignore[type-arg]
    """A birth date as the contract defines it: an instant.

    A plain date becomes 12:00 UTC, which is the same calendar day from UTC-12 to UTC+11. Whole numbers are read as
    epoch seconds, negative before 1970.

    This is not a ``DateTimeField``, because serializers and imports would read texts for one by their own rules: they
    would refuse a plain date, or read it as midnight in some time zone. In queries it behaves like a ``DateTimeField``,
    so lookups such as ``__month`` work.
    """

    _in_queries: ClassVar = _BirthMoment()

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return self._in_queries.db_type(connection)

    def get_col(self, alias: str, output_field: Any = None) -> Col:
        return Col(alias, self, self._in_queries)

    def to_python(self, value: Any) -> Any:
        return self._in_queries.to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        return self._in_queries.get_prep_value(super().get_prep_value(value))

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        return self._in_queries.get_db_prep_value(value, connection, prepared)

    def value_to_string(self, obj: Model) -> str:
        moment = self.value_from_object(obj)
        return "" if moment is None else self.to_python(moment).isoformat()

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        return super().formfield(**{"form_class": BirthDateFormField, **kwargs})


def as_birth_moment(value: date | int | str) -> datetime:
    """Read a plain date, epoch seconds or ISO text as an aware datetime.

    Raises ``ValueError`` for anything else, and ``OverflowError`` outside the years 1 to 9999.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return EPOCH + timedelta(seconds=value)
    if isinstance(value, str):
        day = parse_date(value)
        if day is None:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError(Message("birth_date_offset", value=repr(value)))
            # Raises OverflowError if the offset leads out of the years 1 to 9999.
            return moment.astimezone(UTC)
        value = day
    if isinstance(value, date):
        return datetime.combine(value, NOON)
    raise ValueError(Message("birth_date_type", type=type(value).__name__))
