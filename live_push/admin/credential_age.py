"""How old an endpoint's credential is, who set it, and when that wants attention."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.utils.translation import gettext as _

from live_push.models import AuthMethod, ClientEndpoint

from . import words

OLD: Final = timedelta(days=365)
SAME_DEED: Final = timedelta(minutes=1)
"""Row and history are written within one request, but by two clocks."""

LABELS: Final = ("New password", "New API key")
"""As the history keeps them: in no language but the source's."""


def set_when(endpoint: ClientEndpoint) -> str:
    """Since when the credential is what it is, and by whom as far as the admin's history knows; empty if unknown."""
    moment = endpoint.credentials_changed_at
    if moment is None:
        return ""
    told = {"day": words.day(moment), "user": _set_by(endpoint, moment)}
    return (_("Set on %(day)s by %(user)s.") if told["user"] else _("Set on %(day)s.")) % told


def _set_by(endpoint: ClientEndpoint, moment: datetime) -> str:
    typed = Q(action_flag=ADDITION)
    for label in LABELS:
        typed |= Q(change_message__contains=f'"{label}"')
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(ClientEndpoint),
        object_id=str(endpoint.pk),
        action_time__range=(moment - SAME_DEED, moment + SAME_DEED),
    )
    entry = entries.filter(typed).select_related("user").order_by("-action_time").first()
    return "" if entry is None else entry.user.get_username()


def warning(endpoint: ClientEndpoint, now: datetime) -> words.Badge | None:
    """What to say in the list: nothing proves who sends, or the same key has done so for more than a year."""
    if endpoint.auth_method == AuthMethod.NONE and endpoint.signing_secret is None:
        return words.Badge(_("no authentication"), "alert", "warn")
    changed_at = endpoint.credentials_changed_at
    if changed_at is not None and now - changed_at > OLD:
        days = words.number((now - changed_at).days)
        return words.Badge(_("unchanged for %(days)s days") % {"days": days}, "alert", "warn")
    return None
