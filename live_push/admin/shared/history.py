"""The admin's history: who did what, and when. It never holds a secret, a client's answer or a member's data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model
from django.http import HttpRequest

from live_push.housekeeping.admin_history import write_history
from live_push.rules.messages import read
from live_push.rules.translation import translated


def record(
    request: HttpRequest, model: type[Model], objects: Iterable[Model], message: Any, flag: int = CHANGE
) -> list[LogEntry]:
    """Write one entry for each object under the request's user, like ``write_history()``, and return the entries."""
    return write_history(model, objects, message, user_id=request.user.pk or 0, flag=flag)


def history_in_words(entry: LogEntry) -> str:
    """Return what an entry says, in the reader's language."""
    return str(translated(read(entry.get_change_message())))
