"""Preview an endpoint's request before any member is sent there."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from live_push.admin.shared import preview
from live_push.admin.shared.page import Page


class EndpointPreviewPage(Page):
    """Shows body, headers and signature for the synthetic member of test pushes. Nothing is sent.

    No real member's data is shown, so permission to see the endpoint is enough.
    """

    name = "preview"
    pattern = "<int:pk>/preview/"
    template = "preview.html"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        return self.render(
            request,
            original=endpoint,
            title=_("What would be sent to “%(name)s”") % {"name": endpoint.name},
            is_synthetic=True,
            **preview.of_synthetic_member(endpoint),
        )
