"""What an endpoint would get, before any member is sent there."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from . import preview
from .base import LivePushAdmin


class EndpointPreview(LivePushAdmin):
    """The page; it shows nobody's data, so that whoever may see the endpoint may see it."""

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The bytes, headers and signature for the member of a test push; nothing is sent."""
        endpoint = self.found(request, pk, allowed=True)
        return self.page(
            request,
            "preview.html",
            original=endpoint,
            title=_("What would be sent to “%(name)s”") % {"name": endpoint.name},
            of_nobody=True,
            **preview.of_nobody(endpoint),
        )

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("<int:pk>/preview/", self.preview_view, "preview")]
