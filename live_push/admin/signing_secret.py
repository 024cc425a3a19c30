"""The signing secret's page: generated here, shown once, rotated with an overlap, removed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from live_push.delivery import signing
from live_push.exceptions import RotationRefused
from live_push.models import ClientEndpoint
from live_push.models.clock import db_now

from . import words
from .base import LivePushAdmin, may
from .sentences import InReadersLanguage


class RotationForm(InReadersLanguage, forms.Form):
    """How long both secrets sign."""

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
        help_text=gettext_lazy("Meanwhile requests carry both signatures, so that the client can change over."),
    )
    force = forms.BooleanField(
        label=gettext_lazy("Rotate although two secrets sign already"),
        required=False,
        help_text=gettext_lazy("The oldest secret ends at once."),
    )


class SigningSecret(LivePushAdmin):
    """The page."""

    @sensitive_variables("text")
    def signing_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows the state; POST generates, rotates or removes. The secret stands on the one answer that made it."""
        endpoint = self.found(request, pk, allowed=may(request, "change_endpoint_credentials"))
        form = RotationForm(request.POST or None)
        text = ""
        if request.method == "POST" and "remove" in request.POST:
            signing.remove(endpoint)
            self.note(request, [endpoint], "Removed the signing secret.")
            self.message_user(request, _("Requests are not signed any more."), messages.SUCCESS)
            return self.back_to(endpoint)
        if request.method == "POST" and form.is_valid():
            text = self._rotated(request, endpoint, form)
        now = db_now(router.db_for_read(ClientEndpoint))
        until = endpoint.previous_signing_secret_until
        overlapping = until is not None and now < until
        if not overlapping:
            del form.fields["force"]
        return self.page(
            request,
            "signing_secret.html",
            original=endpoint,
            title=_("Signing secret of “%(name)s”") % {"name": endpoint.name},
            form=form,
            secret=text,
            is_set=endpoint.signing_secret is not None,
            overlap_until=words.moment(until, now) if overlapping else "",
        )

    def _rotated(self, request: HttpRequest, endpoint: Any, form: RotationForm) -> str:
        had_one = endpoint.signing_secret is not None
        try:
            text = signing.rotate(
                endpoint,
                overlap=timedelta(hours=form.cleaned_data["overlap_hours"]),
                force=form.cleaned_data["force"],
            )
        except RotationRefused as error:
            form.add_error(None, str(error))
            return ""
        self.note(request, [endpoint], "Rotated the signing secret." if had_one else "Generated a signing secret.")
        return text

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("<int:pk>/signing/", self.signing_view, "signing")]
