"""A form field for JSON."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput


class JsonField(forms.JSONField):
    """Also rejects, instead of failing on them, deeply nested JSON and numbers with thousands of digits."""

    def to_python(self, value: Any) -> Any:
        """Return the parsed value. Raises ``ValidationError``."""
        try:
            read = super().to_python(value)
        except (RecursionError, ValueError):
            raise ValidationError(self.error_messages["invalid"], code="invalid", params={"value": value}) from None
        # Django returns strings as its JSONString, whose name would appear in the messages of other validators.
        return str(read) if isinstance(read, str) else read

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return the value for the form that is shown again after an error."""
        try:
            return super().bound_data(data, initial)
        except (RecursionError, ValueError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """Return the text to show. A lone surrogate can't be encoded in a page, so it is shown as a JSON escape."""
        return str(super().prepare_value(value)).encode(errors="backslashreplace").decode()
