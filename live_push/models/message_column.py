"""The column of messages for operators, which are translated when they are shown."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Model

from live_push.rules.messages import Message, read


class MessageField(models.TextField):  # type: ignore[type-arg]
    """A message for operators. A :class:`~live_push.rules.messages.Message` is stored as its code and values.

    A plain text is stored as it is, up to 500 characters. It comes from code of the host project, such as a transport.
    """

    MOST_CHARACTERS: ClassVar[int] = 500

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"blank": True, "default": "", **kwargs})

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return None if value is None else read(value)

    def to_python(self, value: Any) -> Any:
        return read(value) if isinstance(value, str) and not isinstance(value, Message) else value

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Message):
            return value.stored()
        prepared = super().get_prep_value(value)
        return prepared[: self.MOST_CHARACTERS] if isinstance(prepared, str) else prepared

    def value_to_string(self, obj: Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))
