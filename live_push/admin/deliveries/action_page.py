"""Take an action on one delivery."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from .acting_page import ActingPage


class ActionPage(ActingPage):
    """POST takes the action and returns to the delivery. An action that can't be undone is confirmed first."""

    name = "action"
    pattern = "<int:pk>/action/"

    @method_decorator(require_POST)
    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        action = self.posted_action(request)
        if action is None:
            raise PermissionDenied
        delivery = self.get_object(request, pk)
        if action.confirms_one and "confirmed" not in request.POST:
            back = self.admin_url("change", pk)
            return self.show_confirmation(request, action, [pk], original=delivery, target=self.url(pk), back=back)
        self.act(request, action, [delivery])
        return self.to_object(delivery)
