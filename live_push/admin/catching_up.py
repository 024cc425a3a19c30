"""Catch up: the current state for the members whose state an endpoint has not accepted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push import api
from live_push.models import ClientEndpoint, UserProfile
from live_push.models.profiles import UserProfileQuerySet

from . import words
from .base import ROWS_LISTED, LivePushAdmin, may

RESENT_ONE: Final = "Resent the current state of %(count)s member."
RESENT_MANY: Final = "Resent the current state of %(count)s members."


class CatchingUp(LivePushAdmin):
    """The page that says how many, and the request that resends to them."""

    def catch_up_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET counts, POST resends."""
        endpoint = self.found(request, pk, allowed=may(request, "resend_delivery"))
        chosen = request.POST.get("whom") or request.GET.get("whom")
        lacking = {
            "behind": UserProfile.objects.behind(pk).without_waiting(pk),
            "never_sent": UserProfile.objects.never_sent(pk).without_waiting(pk),
        }
        if request.method == "POST" and chosen in lacking:
            with self.done_once(request) as first:
                return self._resend(request, endpoint, lacking[chosen]) if first else self.back_to(endpoint)
        counts = {name: members.count() for name, members in lacking.items()}
        return self.page(
            request,
            "catch_up.html",
            original=endpoint,
            title=_("Catch up “%(name)s”") % {"name": endpoint.name},
            behind=counts["behind"],
            never_sent=counts["never_sent"],
            most=ROWS_LISTED,
        )

    def _resend(self, request: HttpRequest, endpoint: ClientEndpoint, members: UserProfileQuerySet) -> HttpResponse:
        if not endpoint.is_active:
            self.message_user(request, _("It is paused. Resume it: that catches up by itself."), messages.ERROR)
            return self.back_to(endpoint)
        # A page is no place to record a million pushes; the command does it with a progress bar.
        some = UserProfile.objects.filter(
            pk__in=list(members.order_by("pk").values_list("pk", flat=True)[:ROWS_LISTED])
        )
        count = api.push_profiles(some, endpoints=[endpoint])
        noted = RESENT_ONE if count == 1 else RESENT_MANY
        self.note(request, [endpoint], noted, values={"count": count})
        said = ngettext(
            "The current state of %(count)s member is sent again.",
            "The current state of %(count)s members is sent again.",
            count,
        )
        self.message_user(request, said % {"count": words.number(count)}, messages.SUCCESS)
        return self.back_to(endpoint)

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("<int:pk>/catch-up/", self.catch_up_view, "catch_up")]
