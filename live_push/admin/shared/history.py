"""The admin's history: who did what, and when. It never holds a secret, a client's answer or a member's data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import override

from live_push.models import UserProfile
from live_push.rules.messages import Message, read
from live_push.rules.translation import translated


def record(
    request: HttpRequest, model: type[Model], objects: Iterable[Model], message: Any, flag: int = CHANGE
) -> list[LogEntry]:
    """Write one entry for each object and return the entries.

    ``message`` is a :class:`~live_push.rules.messages.Message`, of which the code and the values are stored, or the
    list in which Django describes the changes of a form.
    """
    content_type = ContentType.objects.get_for_model(model, for_concrete_model=False)
    stored = _stored(message)
    entries = [
        LogEntry(
            user_id=request.user.pk or 0,
            content_type=content_type,
            object_id=str(obj.pk),
            object_repr=_name(obj)[:200],
            action_flag=flag,
            change_message=stored,
        )
        for obj in objects
    ]
    return LogEntry.objects.bulk_create(entries)


def history_in_words(entry: LogEntry) -> str:
    """Return what an entry says, in the reader's language."""
    return str(translated(read(entry.get_change_message())))


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
