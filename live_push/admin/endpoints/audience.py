"""Choose which members an endpoint receives."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.figures.brandings import audience_change, members_by_branding, unused_brandings
from live_push.models import Audience, ClientEndpoint, UserProfile, validators
from live_push.rules.messages import Message
from live_push.rules.translation import translated

MOST_OFFERED = 100
"""How many brandings the page offers to tick. Others can be typed."""

NAMED_IN_WORDS = 5


class AudienceForm(forms.Form):
    """All members, or those with the ticked and the typed brandings."""

    audience = forms.ChoiceField(label=gettext_lazy("Audience"), choices=Audience.choices, widget=forms.RadioSelect)
    brandings = forms.MultipleChoiceField(
        label=gettext_lazy("Brandings"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Beside each stands how many members have it."),
    )
    further = forms.CharField(
        label=gettext_lazy("Further brandings"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("One in each line, such as those that no member has yet."),
    )

    def __init__(self, *args: Any, members: dict[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["brandings"]
        label = '{} <span class="lp-quiet">{}</span>'
        field.choices = [(name, format_html(label, name, formatting.number(count))) for name, count in members.items()]
        if not members:
            del self.fields["brandings"]
            self.fields["further"].label = _("Brandings")

    def clean_further(self) -> list[str]:
        """Return the typed brandings."""
        typed = sorted({line.strip() for line in self.cleaned_data["further"].splitlines()} - {""})
        if any(len(branding) > validators.BRANDING_CHARACTERS for branding in typed):
            raise forms.ValidationError(_("A branding has at most 255 characters. Is there a line break missing?"))
        return typed

    @property
    def chosen(self) -> list[str] | None:
        """The listed brandings, sorted; ``None`` for all members."""
        if self.cleaned_data["audience"] == Audience.ALL:
            return None
        return sorted({*self.cleaned_data.get("brandings", []), *self.cleaned_data["further"]})


class AudiencePage(Page):
    """GET shows the form. POST shows how many members enter and leave, and a second POST changes the audience."""

    name = "audience"
    pattern = "<int:pk>/audience/"
    template = "audience.html"
    permission = "change_clientendpoint"

    def view(self, request: HttpRequest, pk: int) -> HttpResponse:
        endpoint = self.get_object(request, pk)
        using = router.db_for_write(UserProfile)
        if request.method == "POST" and "confirmed" in request.POST:
            with self.only_once(request) as first:
                if first:
                    self._change(request, endpoint, request.POST["confirmed"])
            return self.to_object(endpoint)
        before = endpoint.brandings if endpoint.audience == Audience.LISTED else None
        form = AudienceForm(
            request.POST if request.method == "POST" else None,
            members=members_by_branding(using=using, at_most=MOST_OFFERED, also=before or ()),
            initial={"audience": endpoint.audience, "brandings": before or []},
        )
        title = _("Audience of “%(name)s”") % {"name": endpoint.name}
        if not form.is_valid():
            return self.render(request, original=endpoint, title=title, form=form)
        return self.render(
            request,
            "confirm.html",
            original=endpoint,
            title=title,
            sentences=what_a_change_means(before, form.chosen, using=using),
            hidden=[("confirmed", json.dumps(form.chosen))],
            button=_("Change the audience"),
            back=self.url(pk),
        )

    def _change(self, request: HttpRequest, endpoint: ClientEndpoint, confirmed: str) -> None:
        try:
            chosen = json.loads(confirmed)
            endpoint.set_audience(chosen)
        except (TypeError, ValueError, ValidationError):
            self.message(request, _("The audience could not be read, so nothing was changed."), messages.ERROR)
            return
        self.record(request, [endpoint], audience_entry(chosen))
        self.message(request, _("The audience was changed."), messages.SUCCESS)


def what_a_change_means(before: list[str] | None, after: list[str] | None, *, using: str) -> list[str]:
    """Return the sentences that explain another audience before it is confirmed."""
    change = audience_change(before, after, using=using)
    enter = ngettext(
        "%(count)s member enters, and is sent at the next update, or when you choose “Catch up”; at once after a "
        "change within the last hour.",
        "%(count)s members enter, and are sent at their next update, or when you choose “Catch up”; those who changed "
        "within the last hour, at once.",
        change.entering,
    )
    leave = ngettext(
        "%(count)s member leaves. Nothing more is sent, and what waits is cancelled. The client keeps what it has.",
        "%(count)s members leave. Nothing more is sent, and what waits is cancelled. The client keeps what it has.",
        change.leaving,
    )
    receives = ngettext(
        "The endpoint then receives %(count)s member.", "The endpoint then receives %(count)s members.", change.held
    )
    sentences = [
        str(translated(audience_entry(after))),
        enter % {"count": formatting.number(change.entering)} if change.entering else _("No member enters."),
        leave % {"count": formatting.number(change.leaving)} if change.leaving else _("No member leaves."),
        receives % {"count": formatting.number(change.held)},
    ]
    if unused := unused_brandings(after or [], using=using):
        names = ", ".join(f"“{name}”" for name in unused)
        no_member = ngettext(
            "No member has the branding %(names)s. Check its spelling.",
            "No member has one of the brandings %(names)s. Check their spelling.",
            len(unused),
        )
        sentences.append(no_member % {"names": names})
    return sentences


def audience_entry(brandings: list[str] | None) -> Message:
    """Return what the history keeps of a change."""
    if brandings is None:
        return Message("history_audience_all")
    if not brandings:
        return Message("history_audience_empty")
    return Message("history_audience_listed", names=", ".join(brandings))


def _in_words(brandings: list[str] | None) -> str:
    if brandings is None:
        return _("all members")
    if not brandings:
        return _("no member")
    named = ", ".join(brandings[:NAMED_IN_WORDS])
    more = len(brandings) - NAMED_IN_WORDS
    if more <= 0:
        return named
    others = ngettext("%(names)s and %(count)s other", "%(names)s and %(count)s others", more)
    return others % {"names": named, "count": formatting.number(more)}


def audience_in_words(endpoint: ClientEndpoint) -> str:
    """Return the audience as the endpoint's page shows it: all members, or the first of the listed brandings."""
    return _in_words(endpoint.brandings if endpoint.audience == Audience.LISTED else None)
