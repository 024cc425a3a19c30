"""The forms around a member."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from live_push.models import ClientEndpoint, Tier

from .sentences import InReadersLanguage


class ProfileForm(InReadersLanguage, forms.ModelForm):  # type: ignore[type-arg]
    """Carries what each field held when the form was opened, and so knows what was edited in it.

    Compared with the row at the time of saving, a field that nobody touched would seem edited where an answer, an award
    or another operator changed it meanwhile.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = self.instance.pk is not None
            if isinstance(field.widget, forms.SplitDateTimeWidget):
                # Before Django 6.0 the two boxes have no label that a screen reader knows.
                for part, word in zip(field.widget.widgets, (_("date"), _("time")), strict=True):
                    part.attrs["aria-label"] = f"{field.label}: {word}"


class OverrideForm(InReadersLanguage, forms.Form):
    """Which tier a member is put into by hand."""

    tier = forms.ModelChoiceField(
        queryset=Tier.objects.select_related("program").order_by("program__name", "min_value"),
        label=_("New tier"),
        help_text=_(
            "What is due is applied first. Upwards the member jumps and the timeframe score stays; downwards the "
            "member drops and the scores go to 0."
        ),
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=150,
        help_text=_("Stands in the history. Name a ticket, not the member."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["tier"]
        choice.label_from_instance = lambda tier: f"{tier.program.name}: {tier.title}"


class ActiveEndpoints(forms.Form):
    """To which endpoints a member's current state is sent: all active ones, unless told otherwise."""

    endpoints = forms.ModelMultipleChoiceField(
        queryset=ClientEndpoint.objects.active().order_by("name"),
        label=_("Endpoints"),
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["endpoints"].initial = ClientEndpoint.objects.active()


class EndpointChoice(forms.Form):
    """For which endpoint the preview is."""

    endpoint = forms.ModelChoiceField(queryset=ClientEndpoint.objects.order_by("name"), label=_("Endpoint"))
