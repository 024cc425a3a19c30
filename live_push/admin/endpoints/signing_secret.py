"""Generate, rotate and remove an endpoint's signing secret."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.exceptions import RotationRefused
from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint
from live_push.models.clock import db_now
from live_push.rules.messages import Message, message_of
from live_push.rules.translation import validation_error


class RotationForm(forms.Form):
    """The choices for a rotation: the overlap, in which both secrets sign."""

    overlap_hours = forms.TypedChoiceField(
        label=gettext_lazy("Overlap"),
        coerce=int,
        initial=24,
        choices=[
            (0, gettext_lazy("none: the old secret ends at once")),
            (1, gettext_lazy("1 hour")),
            (24, gettext_lazy("24 hours")),
            (72, gettext_lazy("3 days")),
            (168, gettext_lazy("7 days")),
        ],
        help_text=gettext_lazy(
            "During the overlap, requests carry both signatures, so that the client can switch secrets."
        ),
    )
    force = forms.BooleanField(
        label=gettext_lazy("Rotate even though two secrets are in use"),
        required=False,
        help_text=gettext_lazy("The oldest secret ends at once."),
    )


class SigningSecretPage(Page):
    """GET shows whether requests are signed. POST generates, rotates or removes the secret.

    Only the response that generated a secret shows its text.
    """

    name = "signing"
    pattern = "<int:pk>/signing/"
    template = "signing_secret.html"
    permission = "change_endpoint_credentials"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        form = RotationForm(request.POST or None)
        text = ""
        if request.method == "POST" and "remove" in request.POST:
            signing_secrets.remove(endpoint)
            self.record(request, [endpoint], Message("history_secret_removed"))
            self.message(request, _("Requests are no longer signed."), messages.SUCCESS)
            return self.to_object(endpoint)
        if request.method == "POST" and form.is_valid():
            text = self._rotate(request, endpoint, form)
        now = db_now(router.db_for_read(ClientEndpoint))
        until = endpoint.previous_signing_secret_until
        overlapping = until is not None and now < until
        if not overlapping:
            del form.fields["force"]
        return self.render(
            request,
            original=endpoint,
            title=_("Signing secret of “%(name)s”") % {"name": endpoint.name},
            form=form,
            secret=text,
            is_set=endpoint.signing_secret is not None,
            overlap_until=formatting.moment(until, now) if overlapping else "",
        )

    def _rotate(self, request: HttpRequest, endpoint: ClientEndpoint, form: RotationForm) -> str:
        had_secret = endpoint.signing_secret is not None
        try:
            text = signing_secrets.rotate(
                endpoint,
                overlap=timedelta(hours=form.cleaned_data["overlap_hours"]),
                force=form.cleaned_data["force"],
            )
        except RotationRefused as error:
            form.add_error(None, validation_error(message_of(error)))
            return ""
        entry = Message("history_secret_rotated" if had_secret else "history_secret_generated")
        self.record(request, [endpoint], entry)
        return text
