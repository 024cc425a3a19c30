"""Send a test push: show the request, send it, and show the result step by step."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.cache import cache
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.admin.shared.permissions import may
from live_push.admin.shared.request_shown import shown
from live_push.delivery import test_push
from live_push.engines.run import make_transport
from live_push.exceptions import LivePushError
from live_push.figures.brandings import is_in_audience
from live_push.models import ClientEndpoint, UserProfile
from live_push.models.clock import db_now
from live_push.outbox.snapshots import current_snapshot
from live_push.rules.messages import Message
from live_push.rules.redaction import CUT
from live_push.rules.translation import translated

from .switch import SwitchPage
from .test_push_steps import steps

SECONDS_BETWEEN = 5
"""Minimum time between two test pushes to an endpoint.

A double click then sends only one, and the button can't be used to put load on a client.
"""


class MemberForm(forms.Form):
    """The member whose state the test push carries, and the reason. Without a member, the synthetic one is sent."""

    member = forms.IntegerField(
        label=gettext_lazy("Member"),
        required=False,
        min_value=1,
        help_text=gettext_lazy("The id of the member whose current state is sent. Empty for a made-up member."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=150,
        help_text=gettext_lazy(
            "Required with a member. It is shown in the history. Give a ticket number, not the member's name."
        ),
    )

    def __init__(self, *args: Any, sends: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sends = sends

    def clean_member(self) -> UserProfile | None:
        pk = self.cleaned_data["member"]
        if pk is None:
            return None
        profile = UserProfile.objects.using(router.db_for_write(UserProfile)).filter(pk=pk).first()
        if profile is None:
            raise forms.ValidationError(_("There is no member with this id."))
        return profile

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.sends and data.get("member") and not data.get("reason"):
            self.add_error("reason", _("Enter a reason for sending a real member's data, or leave the member empty."))
        return data


class TestPushPage(Page):
    """GET shows the request that will be sent. POST sends it and shows the result."""

    name = "test"
    pattern = "<int:pk>/test/"
    template = "test_push.html"
    permission = "send_test_push"

    # No transaction is open while the client answers, even if the host wraps each request in one (ATOMIC_REQUESTS).
    @transaction.non_atomic_requests
    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        form = None
        if may(request, "view_delivery_content"):
            form = MemberForm(request.POST or request.GET, sends=request.method == "POST")
        context: dict[str, Any] = {"form": form}
        if form is None or form.is_valid():
            context |= self._send_or_show(request, endpoint, form.cleaned_data if form is not None else {})
        switch = SwitchPage(self.admin)
        return self.render(
            request,
            original=endpoint,
            title=_("Test push to “%(name)s”") % {"name": endpoint.name},
            switch_url=switch.url(pk) if switch.allows(request) else "",
            **context,
        )

    def _send_or_show(self, request: HttpRequest, endpoint: ClientEndpoint, chosen: dict[str, Any]) -> dict[str, Any]:
        profile = chosen.get("member")
        now = db_now(router.db_for_read(ClientEndpoint))
        if profile is not None and not is_in_audience(profile, endpoint, using=router.db_for_write(UserProfile)):
            return {"problem": _("The member is outside this endpoint's audience, so nothing is sent.")}
        try:
            snapshot = None if profile is None else current_snapshot(profile)
            composed = test_push.compose(endpoint, at=now, snapshot=snapshot)
        except (LivePushError, ValueError) as error:
            return {"problem": translated(error)}
        context = {"shown": shown(composed)}
        if request.method != "POST":
            return context
        if not cache.add(f"live_push:test_push:{endpoint.pk}", True, SECONDS_BETWEEN):
            return {**context, "problem": _("A test push was sent a moment ago. Wait five seconds.")}
        transport = make_transport()
        try:
            answered = test_push.send_test_push(endpoint, composed, transport)
        finally:
            transport.close()
        self.record(request, [endpoint], history_entry(answered.error_code, profile, chosen.get("reason", "")))
        return {**context, "outcome": outcome(answered)}


def history_entry(error_code: str, profile: UserProfile | None, reason: str) -> Message:
    """Return what the history keeps of a test push."""
    if profile is None:
        return Message("history_test_failed", verdict=error_code) if error_code else Message("history_test_accepted")
    if error_code:
        return Message("history_member_test_failed", pk=profile.pk, verdict=error_code, reason=reason)
    return Message("history_member_test_accepted", pk=profile.pk, reason=reason)


def outcome(answered: test_push.TestPushResult) -> dict[str, Any]:
    """Return the result as the page shows it."""
    return {
        "accepted": not answered.error_code,
        "badge": formatting.Badge(_("accepted"), "ok", "ok")
        if not answered.error_code
        else formatting.Badge(_("failed"), "bad", "bad"),
        "steps": steps(answered.result, answered.error_code, answered.reply, answered.certificate),
        "error_code": answered.error_code,
        "explanation": formatting.explained(answered.error_code),
        "detail": translated(answered.result.detail),
        "answer": answered.answer.removesuffix(CUT),
        # Cut by redaction, or because the connection or the limit of the answer's size ended it.
        "answer_is_cut": bool(answered.answer) and (answered.answer.endswith(CUT) or not answered.result.body_complete),
    }
