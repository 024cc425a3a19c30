"""Write the admin's history: who did what, and when. It never holds a secret, a client's answer or a member's data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from django.apps import apps
from django.db.models import Model
from django.utils.translation import override

from live_push.models import UserProfile
from live_push.rules.messages import Message

# The values of Django's LogEntry, which can't be imported in a project without the admin.
ADDED: Final = 1
CHANGED: Final = 2


def write_history(
    model: type[Model], objects: Iterable[Model], message: Any, *, user_id: Any, flag: int = CHANGED
) -> list[Any]:
    """Write one ``LogEntry`` for each object and return the entries. Raises ``LookupError`` without the admin.

    ``message`` is a :class:`~live_push.rules.messages.Message`, of which the code and the values are stored, or the
    list in which Django describes the changes of a form.
    """
    content_type = apps.get_model("contenttypes.ContentType").objects.get_for_model(model, for_concrete_model=False)
    log_entry = apps.get_model("admin.LogEntry")
    stored = _stored(message)
    entries = [
        log_entry(
            user_id=user_id,
            content_type=content_type,
            object_id=str(obj.pk),
            object_repr=_name(obj)[:200],
            action_flag=flag,
            change_message=stored,
        )
        for obj in objects
    ]
    written: list[Any] = log_entry.objects.bulk_create(entries)
    return written


def _name(obj: Model) -> str:
    # The name stays in the history when the object is deleted, so it must not be personal data.
    return f"#{obj.pk}" if isinstance(obj, UserProfile) else str(obj)


def _stored(message: Any) -> str:
    if isinstance(message, Message):
        return message.stored()
    if not isinstance(message, list):
        return str(message)
    # Without a language, because Django translates the names of the fields when it shows the entry.
    with override(None):
        return json.dumps(message)
