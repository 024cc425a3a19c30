"""Show how old an endpoint's credential is, who set it, and whether it should be changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.utils.translation import gettext as _

from live_push.admin.shared import formatting
from live_push.models import AuthMethod, ClientEndpoint

OLD: Final = timedelta(days=365)
SAME_REQUEST: Final = timedelta(minutes=1)
"""Row and history are written in one request, but with the clocks of the database and of the web process."""

LABELS: Final = ("New password", "New API key")
"""The labels of the form's fields in the history, which stores them untranslated."""


def set_when(endpoint: ClientEndpoint) -> str:
    """Return when the credential was set, and by whom if the admin's history knows; empty if unknown."""
    moment = endpoint.credentials_changed_at
    if moment is None:
        return ""
    values = {"day": formatting.day(moment), "user": _set_by(endpoint, moment)}
    return (_("Set on %(day)s by %(user)s.") if values["user"] else _("Set on %(day)s.")) % values


def _set_by(endpoint: ClientEndpoint, moment: datetime) -> str:
    typed = Q(action_flag=ADDITION)
    for label in LABELS:
        typed |= Q(change_message__contains=f'"{label}"')
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(ClientEndpoint),
        object_id=str(endpoint.pk),
        action_time__range=(moment - SAME_REQUEST, moment + SAME_REQUEST),
    )
    entry = entries.filter(typed).select_related("user").order_by("-action_time").first()
    return "" if entry is None else entry.user.get_username()


def warning(endpoint: ClientEndpoint, now: datetime) -> formatting.Badge | None:
    """Return the badge for the list if requests prove no sender, or the credential is older than a year."""
    if endpoint.auth_method == AuthMethod.NONE and endpoint.signing_secret is None:
        return formatting.Badge(_("no authentication"), "alert", "warn")
    changed_at = endpoint.credentials_changed_at
    if changed_at is not None and now - changed_at > OLD:
        days = formatting.number((now - changed_at).days)
        return formatting.Badge(_("unchanged for %(days)s days") % {"days": days}, "alert", "warn")
    return None
