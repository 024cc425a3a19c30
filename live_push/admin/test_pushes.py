"""Send test push: shows what will go out, sends it once, and shows what came back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.cache import cache
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.delivery import test_push
from live_push.delivery.redaction import CUT
from live_push.engines.base import make_transport
from live_push.exceptions import LivePushError
from live_push.models import ClientEndpoint, UserProfile
from live_push.models.clock import db_now

from . import words
from .base import LivePushAdmin, may
from .request_shown import shown
from .sentences import translated
from .test_push_steps import steps

SECONDS_BETWEEN = 5
"""One test push per endpoint in so many seconds: a button is no load tool, and a double click sends once."""


class MemberForm(forms.Form):
    """Whose state the test push carries, and why it is not nobody's."""

    member = forms.IntegerField(
        label=gettext_lazy("Member"),
        required=False,
        min_value=1,
        help_text=gettext_lazy("The id of a member whose current state is sent; empty for one who does not exist."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=150,
        help_text=gettext_lazy("Needed where a member is named. Stands in the history. Name a ticket, not the member."),
    )

    def __init__(self, *args: Any, sends: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sends = sends

    def clean_member(self) -> UserProfile | None:
        pk = self.cleaned_data["member"]
        if pk is None:
            return None
        profile = UserProfile.objects.filter(pk=pk).first()
        if profile is None:
            raise forms.ValidationError(_("There is no member with this id."))
        return profile

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.sends and data.get("member") and not data.get("reason"):
            self.add_error("reason", _("Say why a real member's data goes out, or leave the member empty."))
        return data


class TestPushes(LivePushAdmin):
    """The page and the list's action."""

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Whether the user may send test pushes."""
        return may(request, "send_test_push")

    @admin.action(description=gettext_lazy("Send test push"), permissions=["test"])
    def send_test_push(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(queryset.values_list("pk", flat=True)[:2])
        if len(chosen) == 1:
            return HttpResponseRedirect(self.url("test", chosen[0]))
        self.message_user(request, _("Choose one endpoint: each test push shows its own result."), messages.WARNING)
        return None

    # A host may wrap every request in a transaction; none is held while the client thinks.
    @transaction.non_atomic_requests
    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows the request, POST sends it."""
        endpoint = self.found(request, pk, allowed=self.has_test_permission(request))
        form = None
        if may(request, "view_delivery_content"):
            form = MemberForm(request.POST or request.GET, sends=request.method == "POST")
        context: dict[str, Any] = {"form": form}
        if form is None or form.is_valid():
            context |= self._sent_or_shown(request, endpoint, form.cleaned_data if form is not None else {})
        return self.page(
            request,
            "test_push.html",
            original=endpoint,
            title=_("Test push to “%(name)s”") % {"name": endpoint.name},
            can_pause=may(request, "pause_clientendpoint"),
            **context,
        )

    def _sent_or_shown(self, request: HttpRequest, endpoint: ClientEndpoint, chosen: dict[str, Any]) -> dict[str, Any]:
        profile = chosen.get("member")
        now = db_now(router.db_for_read(ClientEndpoint))
        try:
            composed = test_push.compose(endpoint, at=now, profile=profile)
        except (LivePushError, ValueError) as error:
            return {"problem": translated(error)}
        context = {"shown": shown(composed)}
        if request.method != "POST":
            return context
        if not cache.add(f"live_push:test_push:{endpoint.pk}", True, SECONDS_BETWEEN):
            return {**context, "problem": _("A test push was sent a moment ago. Wait five seconds.")}
        transport = make_transport()
        try:
            answered = test_push.send(endpoint, composed, transport)
        finally:
            transport.close()
        told = {"verdict": answered.error_code or "accepted"}
        said = "Sent a test push: %(verdict)s."
        if profile is not None:
            told |= {"pk": str(profile.pk), "reason": chosen["reason"]}
            said = "Sent a test push with the state of member #%(pk)s: %(verdict)s. Reason: %(reason)s"
        self.note(request, [endpoint], said, values=told)
        return {**context, "outcome": outcome(answered)}

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("<int:pk>/test/", self.test_view, "test")]


def outcome(answered: test_push.Answered) -> dict[str, Any]:
    """What came back, as a page shows it."""
    return {
        "accepted": not answered.error_code,
        "badge": words.Badge(_("accepted"), "ok", "ok")
        if not answered.error_code
        else words.Badge(_("failed"), "bad", "bad"),
        "steps": steps(answered.result, answered.error_code, answered.reply, answered.certificate),
        "error_code": answered.error_code,
        "explanation": words.explained(answered.error_code),
        "detail": translated(answered.result.detail),
        "answer": answered.answer.removesuffix(CUT),
        # Here, or where the connection or our own bound ended it.
        "answer_is_cut": bool(answered.answer) and (answered.answer.endswith(CUT) or not answered.result.body_complete),
    }
