"""Show messages in the language of their reader: on pages, and in the errors of forms and serializers."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy

from .messages import TEMPLATES, Message, message_of


def translated(value: Any) -> Any:
    """Return a message, or what an exception says, in the language that is active now; anything else as it is."""
    if isinstance(value, BaseException):
        value = message_of(value)
    if not isinstance(value, Message):
        return value
    return gettext(TEMPLATES[value.code]) % {name: translated(param) for name, param in value.params.items()}


def validation_error(message: str) -> ValidationError:
    """Return Django's own error for a message. It is translated when it is shown."""
    if not isinstance(message, Message):
        return ValidationError(message, code="invalid")
    params = {
        name: lazy(translated, str)(param) if isinstance(param, Message) else param
        for name, param in message.params.items()
    }
    return ValidationError(gettext_lazy(TEMPLATES[message.code]), code=message.code, params=params)
