"""Pause and resume endpoints."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import helpers
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push.admin.shared import formatting
from live_push.admin.shared.base import current_rows
from live_push.admin.shared.page import Page
from live_push.models import ClientEndpoint
from live_push.rules.messages import Message


class SwitchPage(Page):
    """GET shows a confirmation of the pause. POST pauses or resumes the endpoint."""

    name = "switch"
    pattern = "<int:pk>/switch/"
    template = "confirm.html"
    permission = "pause_clientendpoint"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        if request.method == "POST":
            change = self.pause if request.POST.get("to") == "pause" else self.resume
            change(request, current_rows(request, ClientEndpoint.objects.filter(pk=pk)))
            return self.to_object(endpoint)
        return self.render(
            request,
            original=endpoint,
            title=_("Pause “%(name)s”?") % {"name": endpoint.name},
            sentences=what_a_pause_means(),
            hidden=[("to", "pause")],
            button=_("Pause"),
            back=self.admin_url("change", pk),
        )

    def confirm_pause(self, request: HttpRequest, endpoints: list[Any]) -> HttpResponse:
        """Return the confirmation for these endpoints. It posts to the list's action again, with ``confirmed``."""
        title = ngettext("Pause %(count)s endpoint?", "Pause %(count)s endpoints?", len(endpoints))
        selected = [(helpers.ACTION_CHECKBOX_NAME, endpoint.pk) for endpoint in endpoints]
        return self.render(
            request,
            title=title % {"count": formatting.number(len(endpoints))},
            sentences=[", ".join(endpoint.name for endpoint in endpoints), *what_a_pause_means()],
            hidden=[("action", "pause"), ("confirmed", "1"), *selected],
            button=_("Pause"),
            back=self.list_url(request.GET.urlencode()),
        )

    def pause(self, request: HttpRequest, endpoints: QuerySet[Any]) -> None:
        """Pause those of the endpoints that are active."""
        active = list(endpoints.filter(is_active=True))
        endpoints.filter(pk__in=[endpoint.pk for endpoint in active]).update(
            is_active=False, disabled_reason=paused_by(request)
        )
        self.record(request, active, Message("history_paused"))
        sentence = ngettext("%(count)s endpoint is paused.", "%(count)s endpoints are paused.", len(active))
        level = messages.SUCCESS if active else messages.WARNING
        self.message(request, sentence % {"count": formatting.number(len(active))}, level)

    def resume(self, request: HttpRequest, endpoints: QuerySet[Any]) -> None:
        """Resume those of the endpoints that are paused and valid."""
        for endpoint in endpoints.filter(is_active=False):
            endpoint.is_active, endpoint.disabled_reason = True, ""
            try:
                endpoint.full_clean()
            except ValidationError as error:
                sentence = _("“%(name)s” can't be resumed: %(why)s")
                values = {"name": endpoint.name, "why": " ".join(error.messages)}
                self.message(request, sentence % values, messages.ERROR)
                continue
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True, disabled_reason="")
            self.record(request, [endpoint], Message("history_resumed"))
            sentence = _("“%(name)s” is active again. The current state of every member that changed is sent.")
            self.message(request, sentence % {"name": endpoint.name}, messages.SUCCESS)


def what_a_pause_means() -> list[str]:
    """Return the sentences that explain a pause before it is confirmed."""
    return [
        _("Nothing is recorded or sent for it while it is paused."),
        _("When it is resumed, the current state of every member that changed in the meantime is sent."),
    ]


def paused_by(request: HttpRequest) -> Message:
    """Return the reason that is stored when a user disables an endpoint."""
    return Message("disabled_by_user", user=request.user.get_username())
