"""Resend one member's current state to chosen endpoints."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push import api
from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.admin.shared.permissions import may
from live_push.models import ClientEndpoint, UserProfile
from live_push.rules.messages import Message

from .forms import ActiveEndpoints


class PushPage(Page):
    """GET shows the form with the endpoints. POST resends the current state to the chosen ones."""

    name = "push"
    pattern = "<int:pk>/push/"
    template = "userprofile/push.html"
    permission = "resend_delivery"

    def allows(self, request: HttpRequest) -> bool:
        # The form lists the endpoints by name.
        return super().allows(request) and may(request, "view_clientendpoint")

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        profile = self.get_object(request, pk)
        form = ActiveEndpoints(request.POST if request.method == "POST" else None)
        if form.is_valid():
            with self.only_once(request) as first:
                if first:
                    self._push(request, profile, list(form.cleaned_data["endpoints"]))
            return self.to_object(profile)
        title = _("Resend the current state of member #%(pk)s") % {"pk": pk}
        return self.render(request, original=profile, title=title, form=form)

    def _push(self, request: HttpRequest, profile: UserProfile, endpoints: list[ClientEndpoint]) -> None:
        count = api.push_profile(profile, endpoints=endpoints)
        names = ", ".join(endpoint.name for endpoint in endpoints)
        self.record(request, [profile], Message("history_resent_to", names=names))
        sentence = ngettext("%(count)s delivery was recorded.", "%(count)s deliveries were recorded.", count)
        self.message(request, sentence % {"count": formatting.number(count)}, messages.SUCCESS)
