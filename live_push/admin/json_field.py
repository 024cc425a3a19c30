"""JSON as text in a form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput


class JsonField(forms.JSONField):
    """Refuses what Django's own field fails on: what is nested too deeply to be read, and numbers without an end."""

    def to_python(self, value: Any) -> Any:
        """The value that the text stands for."""
        try:
            read = super().to_python(value)
        except (RecursionError, ValueError):
            raise ValidationError(self.error_messages["invalid"], code="invalid", params={"value": value}) from None
        # A text is of a class of Django's own, whose name says nothing to whoever reads a refusal.
        return str(read) if isinstance(read, str) else read

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What is shown again after a refusal."""
        try:
            return super().bound_data(data, initial)
        except (RecursionError, ValueError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """The text that is shown; half a character, which no page can carry, as JSON escapes it."""
        return str(super().prepare_value(value)).encode(errors="backslashreplace").decode()
