"""Tier programs. The tiers of a program are edited together on its page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, F, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.shared import formatting
from live_push.admin.shared.base import CurrentRows, LivePushAdmin, TabularBase
from live_push.admin.shared.svg import LadderStep, ladder
from live_push.models import Tier, TierProgram
from live_push.models.tiers import check_ladder
from live_push.rules.tiers.ladder import from_base_to_top


class LadderFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """Validates all tiers of a program together, because they must form a ladder."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        kept = [form for form in self.forms if not self._is_gone(form)]
        if kept:
            check_ladder([form.instance for form in kept])
        elif self.instance.is_default:
            raise ValidationError(_("A default program needs at least one tier: new members start in the lowest."))

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        form.instance.is_judged_with_others = True
        # A screen reader does not read the column's heading as a label, so each field gets one that names its row.
        title = form.instance.title or _("new tier")
        for name, field in form.fields.items():
            if not field.widget.is_hidden and name != "DELETE":
                field.widget.attrs["aria-label"] = f"{field.label}: {title}"
            elif name == "DELETE":
                field.widget.attrs["aria-label"] = _("Delete “%(title)s”") % {"title": form.instance.title}

    def _is_gone(self, form: Any) -> bool:
        return form.cleaned_data.get("DELETE", False) or not (form.instance.pk or form.has_changed())


class ProgramForm(forms.ModelForm):  # type: ignore[type-arg]
    """The program's own fields."""


class TierInline(CurrentRows, TabularBase):
    """The tiers of a program."""

    model = Tier
    formset = LadderFormSet
    ordering = (F("min_value").asc(nulls_first=True),)
    extra = 1
    fields = ("title", "min_value", "max_value", "maintain_score")


@admin.register(TierProgram)
class TierProgramAdmin(LivePushAdmin):
    """The list and the form of tier programs."""

    form = ProgramForm
    inlines = (TierInline,)
    list_display = ("name", "is_default", "timeframe", "time_zone", "tier_count", "member_count")
    search_fields = ("name",)
    radio_fields = {"timeframe": admin.VERTICAL, "drop_policy": admin.VERTICAL}
    change_form_template = "admin/live_push/tierprogram/change_form.html"
    fieldsets = (
        (None, {"fields": ("name", "is_default")}),
        (
            gettext_lazy("When tiers expire"),
            {
                "fields": (
                    "timeframe",
                    "time_zone",
                    "reset_month",
                    "reset_day",
                    "expires_after_resets",
                    "length",
                    "length_unit",
                ),
                "classes": ("lp-timeframe",),
            },
        ),
        (gettext_lazy("What happens then"), {"fields": ("drop_policy", "base_expires", "update_assigns")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        programs: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(tier_total=Count("tiers", distinct=True), member_total=Count("tiers__memberships"))
        )
        return programs

    @admin.display(description=gettext_lazy("tiers"))
    def tier_count(self, program: Any) -> str:
        return formatting.number(program.tier_total)

    @admin.display(description=gettext_lazy("members"))
    def member_count(self, program: Any) -> str:
        return formatting.number(program.member_total)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        program = kwargs.get("obj")
        context["ladder"] = picture_of(list(program.tiers.all())) if program is not None else ""
        return super().render_change_form(request, context, *args, **kwargs)


def picture_of(tiers: list[Tier], here: int | None = None) -> Any:
    """Return an image of the ladder. ``here`` is the id of the tier to mark."""
    if not tiers:
        return ""
    steps = [LadderStep(tier.title, range_of(tier), tier.pk == here) for tier in from_base_to_top(tiers)]
    described = ", ".join(f"{step.title} ({step.range})" for step in steps)
    return ladder(steps, _("From base to top: %(tiers)s") % {"tiers": described})


def range_of(tier: Tier) -> str:
    """Return the range of points of a tier."""
    if tier.max_value is None:
        return _("from %(points)s points") % {"points": formatting.number(tier.min_value or 0)}
    return _("%(low)s to %(high)s points") % {
        "low": formatting.number(tier.min_value or 0),
        "high": formatting.number(tier.max_value),
    }
