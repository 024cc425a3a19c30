"""Endpoints: which need attention, how each is set up, and what an operator does with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Case, Q, QuerySet, When
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from live_push import endpoint_url
from live_push.delivery.result import ErrorCode
from live_push.delivery.statistics import percentile
from live_push.exceptions import EndpointUrlError
from live_push.models import AuthMethod, ClientEndpoint, Delivery, EndpointHour
from live_push.models.clock import DbNow

from . import credential_age, figures, words
from .base import CappedPaginator, LivePushAdmin, may
from .catching_up import CatchingUp
from .endpoint_form import EndpointForm, EndpointFormWithCredentials
from .endpoint_preview import EndpointPreview
from .endpoint_table import accepted_durations, at_most
from .overview import Overview, causes, conflicts_in_words
from .recent import recent
from .request_shown import shown_url
from .sentences import translated
from .signing_secret import SigningSecret
from .test_pushes import TestPushes

CREDENTIALS = ["auth_method", "username", "new_password", "clear_password", "new_api_key", "clear_api_key"]


PERIODS = (figures.DAY, figures.WEEK)
LOGINS = {
    AuthMethod.NONE: gettext_lazy("no login"),
    AuthMethod.BASIC: gettext_lazy("user name and password"),
    AuthMethod.API_KEY: gettext_lazy("API key"),
}


RESTING = Q(health__rests_until__gt=DbNow()) | ~Q(health__breaker_state="closed")
TROUBLE_FIRST = Case(
    When(is_active=False, then=0),
    When(health__needs_credentials=True, then=1),
    When(RESTING, then=2),
    When(health__failing_since__isnull=False, then=3),
    default=4,
)


class StateFilter(admin.SimpleListFilter):
    """By what an operator would do about it."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("active", pgettext_lazy("endpoint", "active")),
            ("failing", gettext_lazy("failing")),
            ("resting", gettext_lazy("resting")),
            ("needs_credentials", gettext_lazy("needs credentials")),
            ("disabled", gettext_lazy("disabled")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        states = {
            "active": Q(is_active=True),
            "failing": Q(is_active=True, health__failing_since__isnull=False),
            "resting": Q(is_active=True) & RESTING,
            "needs_credentials": Q(is_active=True, health__needs_credentials=True),
            "disabled": Q(is_active=False),
        }
        return queryset.filter(states[self.value()]) if self.value() in states else queryset  # type: ignore[index]


class EndpointChangeList(ChangeList):
    """Looks the figures of a page's endpoints up together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        if self.result_list:
            found = figures.of_endpoints([endpoint.pk for endpoint in self.result_list], self.result_list[0].now)
            for endpoint in self.result_list:
                endpoint.figures = found[endpoint.pk]
                endpoint.may_see_deliveries = may(request, "view_delivery")


@admin.register(ClientEndpoint)
class ClientEndpointAdmin(TestPushes, EndpointPreview, SigningSecret, CatchingUp, Overview, LivePushAdmin):
    """The list, the form, pause and resume; further pages come from the bases, one idea each."""

    paginator = CappedPaginator
    list_display = ("name_and_host", "state", "success_rate", "queue", "behind", "set_up")
    list_filter = (StateFilter, "auth_method", "capture_third_party_id")
    search_fields = ("name",)
    search_help_text = gettext_lazy("Searches the names.")
    ordering = ("name",)
    actions = ("send_test_push", "pause", "resume")
    radio_fields = {"auth_method": admin.VERTICAL, "ordering": admin.VERTICAL}
    readonly_fields = ("address", "why_disabled")
    change_form_template = "admin/live_push/clientendpoint/change_form.html"

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        endpoints: QuerySet[Any] = super().get_queryset(request).select_related("health").annotate(now=DbNow())
        return endpoints

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EndpointChangeList

    @admin.display(description=gettext_lazy("endpoint"), ordering="name")
    def name_and_host(self, endpoint: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">{}</span>', endpoint.name, host_of(endpoint))

    @admin.display(description=gettext_lazy("state"), ordering=TROUBLE_FIRST)
    def state(self, endpoint: Any) -> SafeString:
        badge = words.endpoint_badge(endpoint, endpoint.health, endpoint.now)
        return format_html('{}<br><span class="lp-quiet">{}</span>', badge, badge.detail)

    @admin.display(description=gettext_lazy("accepted in 24 hours"))
    def success_rate(self, endpoint: Any) -> SafeString | str:
        health = endpoint.health
        return format_html(
            '{}<br><span class="lp-quiet">{} {}<br>{} {}</span>',
            words.share(endpoint.figures.day),
            _("last success:"),
            words.moment(health.last_success_at, endpoint.now),
            _("last failure:"),
            words.moment(health.last_failure_at, endpoint.now),
        )

    @admin.display(description=gettext_lazy("waiting"))
    def queue(self, endpoint: Any) -> SafeString | str:
        waiting = endpoint.figures.waiting
        if not waiting.deliveries:
            return words.NOTHING
        retried = _("%(number)s of them retried") % {"number": words.number(waiting.retried)}
        return format_html(
            '{}<br><span class="lp-quiet">{}<br>{}</span>',
            linked(endpoint, words.number(waiting.deliveries), status__exact="pending"),
            retried,
            format_html("{} {}", _("oldest due:"), words.moment(waiting.oldest_due_at, endpoint.now)),
        )

    @admin.display(description=gettext_lazy("behind"))
    def behind(self, endpoint: Any) -> SafeString | str:
        convergence = endpoint.figures.convergence
        if convergence is None:
            return words.NOTHING
        never = _("%(number)s never sent") % {"number": words.number(convergence.never_sent)}
        return format_html('{}<br><span class="lp-quiet">{}</span>', words.number(convergence.behind), never)

    @admin.display(description=gettext_lazy("set-up"))
    def set_up(self, endpoint: Any) -> SafeString:
        more: list[str] = [_("signed")] if endpoint.signing_secret is not None else []
        more += [_("synchronizes the third-party ID")] if endpoint.capture_third_party_id else []
        if count := endpoint.figures.conflicts:
            more.append(linked(endpoint, conflicts_in_words(count), cause=ErrorCode.ID_CONFLICT))
        login = LOGINS[AuthMethod(endpoint.auth_method)]
        warned = credential_age.warning(endpoint, endpoint.now) or ""
        told = format_html_join(", ", "{}", ((part,) for part in more))
        return format_html('{} {}<br><span class="lp-quiet">{}</span>', login, warned, told)

    # The form

    @method_decorator(sensitive_post_parameters("new_password", "new_api_key"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> Any:
        """What is typed stays out of error reports."""
        return super().changeform_view(*args, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[Any]]:
        credentials = may(request, "change_endpoint_credentials")
        form = EndpointFormWithCredentials if credentials else EndpointForm
        return super().get_form(request, obj, change=change, form=form, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        credentials = CREDENTIALS if may(request, "change_endpoint_credentials") else CREDENTIALS[:2]
        address = "url"
        if not self.has_change_permission(request, obj) and obj is not None:
            credentials, address = CREDENTIALS[:2], "address"
        # What was switched off says why; what was not has no reason to show.
        state = ["is_active", "why_disabled"] if obj is not None and not obj.is_active else ["is_active"]
        wire = ["timeframe_score_alias", "null_levels_as_objects", "mobile_verified_as_date", "withheld_fields"]
        return [
            (None, {"fields": ["name", address, *state, "contact_email"]}),
            (_("How we log in"), {"fields": credentials, "classes": ["lp-credentials"]}),
            (_("What comes back"), {"fields": ["capture_third_party_id"]}),
            (
                _("When and how fast"),
                {"fields": ["ordering", "retry_policy", "max_in_flight", "rate_limit_per_second"]},
            ),
            (_("What is sent"), {"fields": [*wire, "extra_headers"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        readonly = ["address", "why_disabled"]
        if not may(request, "change_endpoint_credentials"):
            readonly += ["auth_method", "username"]
        if obj is not None and not may(request, "pause_clientendpoint"):
            readonly.append("is_active")
        return readonly

    @admin.display(description=gettext_lazy("reason for disabling"))
    def why_disabled(self, endpoint: Any) -> str:
        return translated(endpoint.disabled_reason) or words.NOTHING

    @admin.display(description="URL")
    def address(self, endpoint: Any) -> str:
        """The URL as it is shown to those who may not change it."""
        return shown_url(endpoint.url)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if obj.is_active:
            obj.disabled_reason = ""
        elif "is_active" in form.changed_data:
            obj.disabled_reason = paused_by(request)
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The log would go with it, millions of rows in one request; what is off receives nothing either.
        return super().has_delete_permission(request, obj) and (
            obj is not None and not Delivery.objects.filter(endpoint=obj).exists()
        )

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        endpoint = kwargs.get("obj")
        if endpoint is not None:
            context.update(self.panel(request, endpoint))
        return super().render_change_form(request, context, *args, **kwargs)

    def panel(self, request: HttpRequest, endpoint: Any) -> dict[str, Any]:
        """What stands above the form: how the endpoint is doing, and what can be done."""
        own = figures.of_endpoints([endpoint.pk], endpoint.now)[endpoint.pk]
        convergence = own.convergence
        day, week = (EndpointHour.objects.since(endpoint.now - period).filter(endpoint=endpoint) for period in PERIODS)
        durations = accepted_durations(week).get(endpoint.pk, {})
        return {
            "badge": words.endpoint_badge(endpoint, endpoint.health, endpoint.now),
            "host": host_of(endpoint),
            "facts": [
                (_("Accepted in 24 hours"), words.share(own.day)),
                (_("Accepted in 7 days"), words.share(figures.shares(week).get(endpoint.pk, figures.Share()))),
                (_("Took, in 7 days: p50"), at_most(percentile(durations, 0.5))),
                (_("Took, in 7 days: p99"), at_most(percentile(durations, 0.99))),
                (_("Last success"), words.moment(endpoint.health.last_success_at, endpoint.now)),
                (_("Last failure"), words.moment(endpoint.health.last_failure_at, endpoint.now)),
                (_("Failures in a row"), words.number(endpoint.health.failures_in_row)),
                (_("Waiting"), words.number(own.waiting.deliveries)),
                (_("Oldest due"), words.moment(own.waiting.oldest_due_at, endpoint.now)),
                (_("Behind"), words.NOTHING if convergence is None else words.number(convergence.behind)),
                (_("Never sent"), words.NOTHING if convergence is None else words.number(convergence.never_sent)),
            ],
            "causes": causes(day)[:5],
            "recent": recent(Delivery.objects.filter(endpoint=endpoint), endpoint.now)
            if may(request, "view_delivery")
            else None,
            "deliveries_url": deliveries_url(endpoint),
            "failed_url": deliveries_url(endpoint, status__exact="failed"),
            "can_test": self.has_test_permission(request),
            "can_pause": self.has_pause_permission(request),
            "can_resend": may(request, "resend_delivery"),
            "can_sign": may(request, "change_endpoint_credentials"),
        }

    # Pause and resume

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may switch endpoints off and on."""
        return may(request, "pause_clientendpoint")

    @admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(queryset.filter(is_active=True))
        if chosen and "confirmed" not in request.POST:
            return self._ask(request, chosen)
        self._pause(request, queryset)
        return None

    def _pause(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = list(queryset.filter(is_active=True))
        queryset.filter(pk__in=[endpoint.pk for endpoint in chosen]).update(
            is_active=False, disabled_reason=paused_by(request)
        )
        self.note(request, chosen, "Paused.")
        said = ngettext("%(count)s endpoint is paused.", "%(count)s endpoints are paused.", len(chosen))
        self.message_user(
            request, said % {"count": words.number(len(chosen))}, messages.SUCCESS if chosen else messages.WARNING
        )

    def _ask(self, request: HttpRequest, chosen: list[Any]) -> HttpResponse:
        title = ngettext("Pause %(count)s endpoint?", "Pause %(count)s endpoints?", len(chosen))
        selected = [(helpers.ACTION_CHECKBOX_NAME, endpoint.pk) for endpoint in chosen]
        return self.page(
            request,
            "confirm.html",
            title=title % {"count": words.number(len(chosen))},
            sentences=[", ".join(endpoint.name for endpoint in chosen), *what_a_pause_means()],
            hidden=[("action", "pause"), ("confirmed", "1"), *selected],
            button=_("Pause"),
            back=f"{self.url('changelist')}?{request.GET.urlencode()}",
        )

    @admin.action(description=gettext_lazy("Resume"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for endpoint in queryset.filter(is_active=False):
            endpoint.is_active, endpoint.disabled_reason = True, ""
            try:
                endpoint.full_clean()
            except ValidationError as error:
                why = " ".join(map(translated, error.messages))
                sentence = _("“%(name)s” can't be resumed: %(why)s") % {"name": endpoint.name, "why": why}
                self.message_user(request, sentence, messages.ERROR)
                continue
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True, disabled_reason="")
            self.note(request, [endpoint], "Resumed.")
            sentence = _("“%(name)s” is active again and is sent the current state of every member that changed.")
            self.message_user(request, sentence % {"name": endpoint.name}, messages.SUCCESS)

    def switch_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks before it pauses; resumes at once."""
        endpoint = self.found(request, pk, allowed=self.has_pause_permission(request))
        if request.method == "POST":
            change = self._pause if request.POST.get("to") == "pause" else self.resume
            change(request, ClientEndpoint.objects.filter(pk=pk))
            return self.back_to(endpoint)
        return self.page(
            request,
            "confirm.html",
            original=endpoint,
            title=_("Pause “%(name)s”?") % {"name": endpoint.name},
            sentences=what_a_pause_means(),
            hidden=[("to", "pause")],
            button=_("Pause"),
            back=self.url("change", pk),
        )

    def own_urls(self) -> Iterable[URLPattern]:
        return [*super().own_urls(), self.route("<int:pk>/switch/", self.switch_view, "switch")]


def what_a_pause_means() -> list[str]:
    """What to know before."""
    return [
        _("Nothing is recorded or sent for it while it is paused."),
        _("Resume sends the current state of every member that changed meanwhile, so no member is lost."),
    ]


def paused_by(request: HttpRequest) -> str:
    """The reason that is kept where a person switches an endpoint off, as it stands in the source."""
    return f"Paused by {request.user.get_username()}."[:200]


def host_of(endpoint: ClientEndpoint) -> str:
    """The host alone: path and query may hold a token. As it is sent, and as people write it where that differs."""
    try:
        sent = endpoint.origin.removeprefix("https://").removesuffix(":443")
        shown = endpoint_url.display_host(endpoint.url)
    except EndpointUrlError:
        return ""
    return f"{sent} ({shown})" if "xn--" in sent else sent


def linked(endpoint: Any, text: str, **filters: str) -> SafeString | str:
    """A figure of a row, as a link to the deliveries that it counts for those who may see them."""
    if not endpoint.may_see_deliveries:
        return text
    return format_html('<a href="{}">{}</a>', deliveries_url(endpoint, **filters), text)


def deliveries_url(endpoint: ClientEndpoint, **filters: str) -> str:
    """The deliveries of an endpoint, as a list."""
    query = "&".join(f"{name}={value}" for name, value in {"endpoint": str(endpoint.pk), **filters}.items())
    return f"{reverse('admin:live_push_delivery_changelist')}?{query}"
