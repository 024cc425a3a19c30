"""Resend the current state of the members that are selected in the list."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from live_push import api
from live_push.admin.shared import formatting
from live_push.admin.shared.base import ROWS_LISTED, current_rows
from live_push.admin.shared.page import Page
from live_push.models import ClientEndpoint, UserProfile
from live_push.rules.messages import Message
from live_push.rules.parse_id import parse_id


class ResendPage(Page):
    """The list's action shows a confirmation. POST resends to all active endpoints and returns to the list."""

    name = "resend"
    pattern = "resend/"
    template = "confirm.html"
    permission = "resend_delivery"

    def confirm(self, request: HttpRequest, profiles: QuerySet[Any]) -> HttpResponse | None:
        """Return the confirmation for these members; ``None``, with a message, if no endpoint is active."""
        chosen = list(profiles.order_by("pk").values_list("pk", flat=True))
        endpoints = ClientEndpoint.objects.active().count()
        if not endpoints:
            self.message(
                request,
                _("There is no active endpoint, so nothing would be sent. Add or resume one."),
                messages.WARNING,
            )
            return None
        button = ngettext("Resend %(count)s profile", "Resend %(count)s profiles", len(chosen))
        return self.render(
            request,
            title=_("Resend current profile"),
            sentences=what_a_resend_means(len(chosen), endpoints),
            # In one field, because the number of fields of a request is limited.
            hidden=[("chosen", ",".join(map(str, chosen))), ("query", request.GET.urlencode())],
            target=self.url(),
            button=button % {"count": formatting.number(len(chosen))},
            back=self.list_url(request.GET.urlencode()),
        )

    @method_decorator(require_POST)
    def view(self, request: HttpRequest) -> HttpResponse:
        self.check(request)
        posted = request.POST.get("chosen", "").split(",")[:ROWS_LISTED]
        ids = [pk for pk in map(parse_id, posted) if pk is not None]
        profiles = current_rows(request, UserProfile.objects.filter(pk__in=ids))
        with self.only_once(request) as first:
            if first:
                count = api.push_profiles(profiles)
                self.record(request, profiles, Message("history_resent"))
                sentence = ngettext("%(count)s delivery was recorded.", "%(count)s deliveries were recorded.", count)
                level = messages.SUCCESS if count else messages.WARNING
                self.message(request, sentence % {"count": formatting.number(count)}, level)
        return HttpResponseRedirect(self.list_url(request.POST.get("query", "")))


def what_a_resend_means(members: int, endpoints: int) -> list[str]:
    """Return the sentences that explain a resend before it is confirmed."""
    goes_to = ngettext(
        "It is sent to %(count)s active endpoint.", "It is sent to %(count)s active endpoints.", endpoints
    )
    most = members * endpoints
    at_most = ngettext("At most %(count)s delivery is recorded.", "At most %(count)s deliveries are recorded.", most)
    return [
        _(
            "The current state of each member is sent as a new event. You don't need this after saving a profile: "
            "that sends it automatically."
        ),
        f"{goes_to % {'count': formatting.number(endpoints)}} {at_most % {'count': formatting.number(most)}}",
        _("Nothing is sent to a disabled endpoint. When it is resumed, the current state is sent."),
    ]
