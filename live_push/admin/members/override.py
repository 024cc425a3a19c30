"""Put a member into a tier by hand."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from live_push.admin.programs.program_admin import picture_of
from live_push.admin.shared.page import Page
from live_push.exceptions import TierError
from live_push.models import TierMembership, UserProfile
from live_push.rules.messages import Message, message_of
from live_push.rules.translation import validation_error
from live_push.tiers import service

from .forms import OverrideForm


class OverridePage(Page):
    """GET shows the form for the tier and the reason. POST moves the member and records user and reason."""

    name = "override"
    pattern = "<int:pk>/override/"
    template = "userprofile/override.html"
    permission = "change_tiermembership"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        profile = self.get_object(request, pk)
        form = OverrideForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._override(request, profile, form):
            return self.to_object(profile)
        member = TierMembership.objects.select_related("tier__program").filter(pk=pk).first()
        return self.render(
            request,
            original=profile,
            title=_("Change the tier of member #%(pk)s") % {"pk": pk},
            form=form,
            member=member,
            ladder=picture_of(list(member.tier.program.tiers.all()), member.tier_id) if member else "",
        )

    def _override(self, request: HttpRequest, profile: UserProfile, form: OverrideForm) -> bool:
        tier = form.cleaned_data["tier"]
        try:
            service.override_tier(profile, tier)
        except TierError as error:
            form.add_error("tier", validation_error(message_of(error)))
            return False
        entry = Message("history_tier", tier=tier.title, reason=form.cleaned_data["reason"])
        self.record(request, [profile], entry)
        sentence = _("The member is now in tier “%(tier)s” and is pushed.") % {"tier": tier.title}
        self.message(request, sentence, messages.SUCCESS)
        return True
