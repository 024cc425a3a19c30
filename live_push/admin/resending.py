"""Resend many members: a page says how many and to whom, a second request does it, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from live_push import api
from live_push.ids import as_id
from live_push.models import ClientEndpoint, UserProfile

from . import words
from .base import ROWS_LISTED, LivePushAdmin, may


class Resending(LivePushAdmin):
    """The list's action and what it confirms."""

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resend."""
        return may(request, "resend_delivery")

    @admin.action(description=gettext_lazy("Resend current profile"), permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(queryset.order_by("pk").values_list("pk", flat=True)[: ROWS_LISTED + 1])
        if len(chosen) > ROWS_LISTED:
            sentence = _("More than %(most)s are chosen. Narrow the choice, or use the command line.")
            self.message_user(request, sentence % {"most": words.number(ROWS_LISTED)}, messages.ERROR)
            return None
        endpoints = ClientEndpoint.objects.active().count()
        if not endpoints:
            self.message_user(request, _("There is no active endpoint, so nothing would be sent."), messages.WARNING)
            return None
        return self.page(
            request,
            "confirm.html",
            title=_("Resend current profile"),
            sentences=what_it_means(len(chosen), endpoints),
            # In one field, because the number of fields of a request is limited.
            hidden=[("chosen", ",".join(map(str, chosen))), ("query", request.GET.urlencode())],
            target=self.url("resend"),
            button=ngettext("Resend %(count)s profile", "Resend %(count)s profiles", len(chosen))
            % {"count": words.number(len(chosen))},
            back=f"{self.url('changelist')}?{request.GET.urlencode()}",
        )

    @method_decorator(require_POST)
    def resend_view(self, request: HttpRequest) -> HttpResponse:
        """What was confirmed; back to the list as it was filtered."""
        if not self.has_resend_permission(request) or not self.has_view_permission(request):
            raise PermissionDenied
        typed = request.POST.get("chosen", "").split(",")[:ROWS_LISTED]
        profiles = UserProfile.objects.filter(pk__in=[pk for pk in map(as_id, typed) if pk is not None])
        with self.done_once(request) as first:
            if first:
                count = api.push_profiles(profiles)
                self.note(request, profiles, "Resent the current state.")
                said = ngettext("%(count)s delivery was recorded.", "%(count)s deliveries were recorded.", count)
                level = messages.SUCCESS if count else messages.WARNING
                self.message_user(request, said % {"count": words.number(count)}, level)
        return HttpResponseRedirect(f"{self.url('changelist')}?{request.POST.get('query', '')}")

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("resend/", self.resend_view, "resend")]


def what_it_means(members: int, endpoints: int) -> list[str]:
    """What to know before."""
    goes_to = ngettext("It goes to %(count)s active endpoint.", "It goes to %(count)s active endpoints.", endpoints)
    most = members * endpoints
    at_most = ngettext("That makes %(count)s delivery at most.", "That makes %(count)s deliveries at most.", most)
    return [
        _("What each member's profile is now goes out, as a new event. Saving a profile is pushed by itself."),
        f"{goes_to % {'count': words.number(endpoints)}} {at_most % {'count': words.number(most)}}",
        _("A disabled endpoint gets nothing; resuming it sends the current state."),
    ]
