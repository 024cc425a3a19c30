"""Preview the request that an endpoint would be sent for a member now."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from live_push.admin.shared import preview
from live_push.admin.shared.page import Page
from live_push.admin.shared.permissions import may

from .forms import EndpointChoice


class MemberPreviewPage(Page):
    """Shows the exact body, headers and signature for the chosen endpoint. Nothing is sent."""

    name = "preview"
    pattern = "<int:pk>/preview/"
    template = "preview.html"
    permission = "view_delivery_content"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        profile = self.get_object(request, pk)
        form = EndpointChoice(request.GET if "endpoint" in request.GET else None)
        context: dict[str, Any] = {}
        if form.is_valid():
            if not may(request, "view_clientendpoint"):
                raise PermissionDenied
            context = preview.of_member(profile, form.cleaned_data["endpoint"])
        return self.render(
            request,
            original=profile,
            title=_("What would be sent for member #%(pk)s") % {"pk": pk},
            form=form,
            **context,
        )
