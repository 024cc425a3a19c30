"""Take an action on the deliveries that are selected in the list."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from live_push.admin.shared.base import ROWS_LISTED, current_rows
from live_push.models import Delivery
from live_push.rules.parse_id import parse_id

from .acting_page import ActingPage
from .actions import Action


class BulkPage(ActingPage):
    """The list's actions show a confirmation. POST takes the action and returns to the list with its filters."""

    name = "bulk"
    pattern = "bulk/"

    def confirm(self, request: HttpRequest, deliveries: QuerySet[Any], action: Action) -> HttpResponse:
        """Return the confirmation for these deliveries."""
        chosen = list(deliveries.order_by("-pk").values_list("pk", flat=True))
        return self.show_confirmation(
            request, action, chosen, target=self.url(), back=self.list_url(request.GET.urlencode())
        )

    @method_decorator(require_POST)
    def view(self, request: HttpRequest) -> HttpResponse:
        action = self.posted_action(request)
        if action is None:
            raise PermissionDenied
        self.check(request)
        posted = request.POST.get("chosen", "").split(",")[:ROWS_LISTED]
        ids = [pk for pk in map(parse_id, posted) if pk is not None]
        self.act(request, action, list(current_rows(request, Delivery.objects.filter(pk__in=ids))))
        return HttpResponseRedirect(self.list_url(request.POST.get("query", "")))
