"""Columns with a rule of their own."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Model
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _

from live_push.unseen import UNSEEN

from .guarded import Guarded

NOON = time(12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def readable(value: str) -> None:
    """Refuse what would steer a terminal, forge a line of a log, or turn the text around it, in a name that all see."""
    if found := UNSEEN.search(value):
        raise unseen_error(found[0])


def unseen_error(character: str) -> ValidationError:
    """What to say of a character that nobody sees."""
    return ValidationError(
        _("This contains the character U+%(code)s, which can't be seen; leave it out."),
        params={"code": f"{ord(character):04X}"},
    )


class IdField(models.CharField):  # type: ignore[type-arg]
    """Text that identifies: compares byte by byte everywhere (MariaDB would fold case and ignore trailing blanks)."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = dict(super().db_parameters(connection))
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_nopad_bin"
        return parameters


class OwnedByDatabase:
    """A mixin for columns that ``save()`` never writes back: an instance in memory may be older than its row."""

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        return super().pre_save(model_instance, add) if add else F(self.attname)  # type: ignore[misc, attr-defined]


class OwnedBigIntegerField(OwnedByDatabase, models.BigIntegerField):  # type: ignore[type-arg]
    """A whole number that only the outbox moves."""


class OwnedDateTimeField(OwnedByDatabase, models.DateTimeField):  # type: ignore[type-arg]
    """A moment that only the outbox moves."""


class ThirdPartyIdField(Guarded, IdField):
    """The client's id of a member. Blank is stored as null, because ids are unique where set."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(value) or None


class BirthDateFormField(forms.CharField):
    """One text for a day (``1974-07-06``, read as 12:00 UTC) or a moment (``1974-07-06T20:00:00+00:00``)."""

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


class BirthDateField(models.DateTimeField):  # type: ignore[type-arg]
    """A birth date as the contract has it: an instant.

    A plain date becomes 12:00 UTC, which is the same calendar day from UTC-12 to UTC+11; whole numbers are read as
    epoch seconds (negative before 1970).
    """

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, datetime):
            return value
        try:
            return as_birth_moment(value)
        except (ValueError, OverflowError) as error:
            raise ValidationError(str(error), code="invalid") from None

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        # The admin asks for its two-part widget of a date and a time; one text is what is meant here.
        return models.Field.formfield(
            self,
            **{**kwargs, "form_class": BirthDateFormField, "widget": forms.TextInput},
        )


def as_birth_moment(value: date | int | str) -> datetime:
    """Read a plain date, epoch seconds or ISO text as an aware datetime.

    Raises ``ValueError`` for anything else, and ``OverflowError`` for what lies outside the years 1 to 9999.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return EPOCH + timedelta(seconds=value)
    if isinstance(value, str):
        day = parse_date(value)
        if day is None:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError(f"A birth date given as a moment needs its UTC offset; found {value!r}.")
            # Raises where an offset leads out of the years that a database keeps.
            return moment.astimezone(UTC)
        value = day
    if isinstance(value, date):
        return datetime.combine(value, NOON)
    raise ValueError(f"A birth date is a date, a moment or epoch seconds; found {type(value).__name__}.")
