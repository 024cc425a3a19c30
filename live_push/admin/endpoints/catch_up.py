"""Catch up: send the current state of the members whose current state an endpoint has not accepted."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push import api
from live_push.admin.shared import formatting
from live_push.admin.shared.base import ROWS_LISTED, current_rows
from live_push.admin.shared.page import Page
from live_push.models import ClientEndpoint, UserProfile
from live_push.models.profiles import UserProfileQuerySet
from live_push.rules.messages import Message


class CatchUpPage(Page):
    """GET counts the members for whom the endpoint is behind, and those never sent to it. POST resends to one group."""

    name = "catch_up"
    pattern = "<int:pk>/catch-up/"
    template = "catch_up.html"
    permission = "resend_delivery"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        members: Any = current_rows(request, UserProfile.objects.all())
        groups = {
            "behind": members.behind(pk).without_waiting(pk),
            "never_sent": members.never_sent(pk).without_waiting(pk),
        }
        chosen = request.POST.get("whom")
        if chosen in groups:
            with self.only_once(request) as first:
                if first:
                    self._resend(request, endpoint, groups[chosen])
            return self.to_object(endpoint)
        return self.render(
            request,
            original=endpoint,
            title=_("Catch up “%(name)s”") % {"name": endpoint.name},
            most=ROWS_LISTED,
            **{name: group.count() for name, group in groups.items()},
        )

    def _resend(self, request: HttpRequest, endpoint: ClientEndpoint, members: UserProfileQuerySet) -> None:
        if not endpoint.is_active:
            self.message(
                request,
                _("The endpoint is paused. Resume it: this sends the current state of all members that changed."),
                messages.ERROR,
            )
            return
        # One request can't record a million pushes. For more than these there is a command, with a progress bar.
        ids = list(members.order_by("pk").values_list("pk", flat=True)[:ROWS_LISTED])
        count = api.push_profiles(UserProfile.objects.filter(pk__in=ids), endpoints=[endpoint])
        entry = Message("history_resent_one" if count == 1 else "history_resent_many", count=count)
        self.record(request, [endpoint], entry)
        sentence = ngettext(
            "The current state of %(count)s member is sent again.",
            "The current state of %(count)s members is sent again.",
            count,
        )
        self.message(request, sentence % {"count": formatting.number(count)}, messages.SUCCESS)
