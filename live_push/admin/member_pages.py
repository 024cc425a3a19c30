"""Pages about one member: what would be sent now, pushing it, erasing the log of it, a change of tier by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push import api
from live_push.exceptions import TierError
from live_push.models import ClientEndpoint, Delivery, TierMembership, UserProfile
from live_push.outbox import withdraw
from live_push.tiers import service

from . import preview, words
from .base import LivePushAdmin, may
from .profile_forms import ActiveEndpoints, EndpointChoice, OverrideForm
from .tiers import picture_of


class MemberPages(LivePushAdmin):
    """Preview, push, erase and override."""

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The very bytes, headers and signature that would go out now; nothing is sent."""
        profile = self.found(request, pk, allowed=may(request, "view_delivery_content"))
        form = EndpointChoice(request.GET if "endpoint" in request.GET else None)
        context: dict[str, Any] = {}
        if form.is_valid():
            if not may(request, "view_clientendpoint"):
                raise PermissionDenied
            context = preview.of_member(profile, form.cleaned_data["endpoint"])
        return self.page(
            request,
            "preview.html",
            original=profile,
            title=_("What would be sent of member #%(pk)s") % {"pk": pk},
            form=form,
            **context,
        )

    def override_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Puts a member into a tier by hand; the history keeps who did and why."""
        profile = self.found(request, pk, allowed=may(request, "change_tiermembership"))
        form = OverrideForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._overridden(request, profile, form):
            return self.back_to(profile)
        member = TierMembership.objects.select_related("tier__program").filter(pk=pk).first()
        return self.page(
            request,
            "userprofile/override.html",
            original=profile,
            title=_("Change the tier of member #%(pk)s") % {"pk": pk},
            form=form,
            member=member,
            ladder=picture_of(list(member.tier.program.tiers.all()), member.tier_id) if member else "",
        )

    def _overridden(self, request: HttpRequest, profile: UserProfile, form: OverrideForm) -> bool:
        tier = form.cleaned_data["tier"]
        try:
            service.override_tier(profile, tier)
        except TierError as error:
            form.add_error("tier", str(error))
            return False
        reason = form.cleaned_data["reason"]
        told = {"tier": tier.title, "reason": reason}
        self.note(request, [profile], "Put into tier “%(tier)s”: %(reason)s", values=told)
        sentence = _("The member is in tier “%(tier)s” now, and is pushed.") % {"tier": tier.title}
        self.message_user(request, sentence, messages.SUCCESS)
        return True

    def push_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET asks for which endpoints, POST resends the current state to them."""
        allowed = may(request, "resend_delivery") and may(request, "view_clientendpoint")
        profile = self.found(request, pk, allowed=allowed)
        form = ActiveEndpoints(request.POST if request.method == "POST" else None)
        if form.is_valid():
            with self.done_once(request) as first:
                if first:
                    self._push(request, profile, list(form.cleaned_data["endpoints"]))
            return self.back_to(profile)
        return self.page(
            request,
            "userprofile/push.html",
            original=profile,
            title=_("Resend the current state of member #%(pk)s") % {"pk": pk},
            form=form,
        )

    def _push(self, request: HttpRequest, profile: UserProfile, endpoints: list[ClientEndpoint]) -> None:
        count = api.push_profiles(UserProfile.objects.filter(pk=profile.pk), endpoints=endpoints)
        names = ", ".join(endpoint.name for endpoint in endpoints)
        self.note(request, [profile], "Resent the current state to %(names)s.", values={"names": names})
        said = ngettext("%(count)s delivery was recorded.", "%(count)s deliveries were recorded.", count)
        self.message_user(request, said % {"count": words.number(count)}, messages.SUCCESS)

    def erase_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET asks, POST empties what the log kept of the member's pushes."""
        profile = self.found(request, pk, allowed=may(request, "erase_delivery_content"))
        using = Delivery.objects.db
        if request.method == "POST":
            ids = Delivery.objects.using(using).filter(profile=pk, ended_at__isnull=False).values_list("pk", flat=True)
            count = withdraw.erase_content(list(ids), using=using)
            self.note(request, [profile], "Erased the push log.")
            said = ngettext("%(count)s delivery was erased.", "%(count)s deliveries were erased.", count)
            self.message_user(request, said % {"count": words.number(count)}, messages.SUCCESS)
            return self.back_to(profile)
        return self.page(
            request,
            "confirm.html",
            original=profile,
            title=_("Erase the push log of member #%(pk)s?") % {"pk": pk},
            sentences=[
                _("Bodies and answers are erased for good; that something was sent, and when, stays."),
                _("What still waits is sent, and can be erased afterwards."),
            ],
            hidden=[],
            button=_("Erase push log"),
            back=self.url("change", pk),
        )

    def own_urls(self) -> Iterable[URLPattern]:
        return [
            *super().own_urls(),
            self.route("<int:pk>/preview/", self.preview_view, "preview"),
            self.route("<int:pk>/push/", self.push_view, "push"),
            self.route("<int:pk>/erase/", self.erase_view, "erase"),
            self.route("<int:pk>/override/", self.override_view, "override"),
        ]
