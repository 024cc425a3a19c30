"""The forms of members' pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from live_push.models import ClientEndpoint, Tier


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """Keeps the initial value of each field in the form, so that only edited fields count as changed.

    Compared with the row at the time of saving, an untouched field would count as changed if a captured id, an award or
    another operator has changed the row in the meantime.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = self.instance.pk is not None
            if isinstance(field.widget, forms.SplitDateTimeWidget):
                # Before Django 6.0, the two inputs have no label for screen readers.
                for part, word in zip(field.widget.widgets, (_("date"), _("time")), strict=True):
                    part.attrs["aria-label"] = f"{field.label}: {word}"


class OverrideForm(forms.Form):
    """The tier that a member is put into by hand, and the reason."""

    tier = forms.ModelChoiceField(
        queryset=Tier.objects.select_related("program").order_by("program__name", "min_value"),
        label=_("New tier"),
        help_text=_(
            "Changes that are due are applied first. A higher tier keeps the timeframe score. A lower tier sets the "
            "scores to 0."
        ),
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=150,
        help_text=_("It is shown in the history. Give a ticket number, not the member's name."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["tier"]
        choice.label_from_instance = lambda tier: f"{tier.program.name}: {tier.title}"


class ActiveEndpoints(forms.Form):
    """The endpoints to which a member's current state is sent: initially, all active ones."""

    endpoints = forms.ModelMultipleChoiceField(
        queryset=ClientEndpoint.objects.active().order_by("name"),
        label=_("Endpoints"),
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["endpoints"].initial = ClientEndpoint.objects.active()


class EndpointChoice(forms.Form):
    """The endpoint of the preview."""

    endpoint = forms.ModelChoiceField(queryset=ClientEndpoint.objects.order_by("name"), label=_("Endpoint"))
