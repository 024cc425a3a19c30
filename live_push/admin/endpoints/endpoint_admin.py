"""The list and the form of endpoints, with the figures of each."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, QuerySet, When
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.overview.endpoint_table import accepted_durations, at_most
from live_push.admin.overview.overview import OverviewPage, causes, conflicts_in_words
from live_push.admin.shared import formatting
from live_push.admin.shared.base import LivePushAdmin, current_rows
from live_push.admin.shared.page import Page
from live_push.admin.shared.permissions import may
from live_push.admin.shared.recent import recent
from live_push.exceptions import EndpointUrlError
from live_push.figures import pages
from live_push.models import Audience, AuthMethod, ClientEndpoint, Delivery, EndpointHour, EndpointState
from live_push.models.clock import DbNow
from live_push.models.endpoint_state import in_state
from live_push.outbox.hours import percentile
from live_push.rules import endpoint_url
from live_push.rules.result import ErrorCode
from live_push.rules.translation import translated

from . import credential_age
from .audience import AudiencePage, audience_in_words
from .catch_up import CatchUpPage
from .form import EndpointForm, EndpointFormWithCredentials, with_masked_secrets
from .preview import EndpointPreviewPage
from .signing_secret import SigningSecretPage
from .switch import SwitchPage, paused_by
from .test_pushes import TestPushPage

CREDENTIAL_FIELDS = ["auth_method", "username", "new_password", "clear_password", "new_api_key", "clear_api_key"]


SHOWN_PERIODS = (pages.DAY, pages.WEEK)
LOGINS = {
    AuthMethod.NONE: gettext_lazy("no login"),
    AuthMethod.BASIC: gettext_lazy("user name and password"),
    AuthMethod.API_KEY: gettext_lazy("API key"),
}


TROUBLE_FIRST = Case(
    When(in_state(EndpointState.DISABLED, DbNow()), then=0),
    When(in_state(EndpointState.NEEDS_CREDENTIALS, DbNow()), then=1),
    When(in_state(EndpointState.RESTING, DbNow()), then=2),
    When(health__failing_since__isnull=False, then=3),
    default=4,
)


class StateFilter(admin.SimpleListFilter):
    """Filters by the endpoint's state, or by whether it fails."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*EndpointState.choices, ("failing", gettext_lazy("failing"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "failing":
            return queryset.filter(is_active=True, health__failing_since__isnull=False)
        chosen = next((state for state in EndpointState if state.value == self.value()), None)
        return queryset if chosen is None else queryset.filter(in_state(chosen, DbNow()))


class EndpointChangeList(ChangeList):
    """Reads the figures of all endpoints on a page together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        if self.result_list:
            figures = pages.of_endpoints(self.result_list, self.result_list[0].now)
            for endpoint in self.result_list:
                endpoint.figures = figures[endpoint.pk]
                endpoint.may_see_deliveries = may(request, "view_delivery")


@admin.register(ClientEndpoint)
class ClientEndpointAdmin(LivePushAdmin):
    """The list and the form. Each further page is a class of its own."""

    pages = (
        TestPushPage,
        EndpointPreviewPage,
        AudiencePage,
        SigningSecretPage,
        CatchUpPage,
        SwitchPage,
        OverviewPage,
    )

    list_display = ("name_and_host", "state", "success_rate", "queue", "behind", "set_up")
    list_filter = (StateFilter, "auth_method", "capture_third_party_id")
    search_fields = ("name",)
    search_help_text = gettext_lazy("Searches the names.")
    ordering = ("name",)
    actions = ("send_test_push", "pause", "resume")
    radio_fields = {"audience": admin.VERTICAL, "auth_method": admin.VERTICAL, "ordering": admin.VERTICAL}
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
        badge = formatting.endpoint_badge(endpoint, endpoint.health, endpoint.now)
        return format_html('{}<br><span class="lp-quiet">{}</span>', badge, badge.detail)

    @admin.display(description=gettext_lazy("accepted in 24 hours"))
    def success_rate(self, endpoint: Any) -> SafeString | str:
        health = endpoint.health
        return format_html(
            '{}<br><span class="lp-quiet">{} {}<br>{} {}</span>',
            formatting.share(endpoint.figures.day),
            _("last success:"),
            formatting.moment(health.last_success_at, endpoint.now),
            _("last failure:"),
            formatting.moment(health.last_failure_at, endpoint.now),
        )

    @admin.display(description=gettext_lazy("waiting"))
    def queue(self, endpoint: Any) -> SafeString | str:
        waiting = endpoint.figures.waiting
        if not waiting.deliveries:
            return formatting.NOTHING
        retried = _("%(number)s of them retried") % {"number": formatting.number(waiting.retried)}
        return format_html(
            '{}<br><span class="lp-quiet">{}<br>{}</span>',
            linked(endpoint, formatting.number(waiting.deliveries), status__exact="pending"),
            retried,
            format_html("{} {}", _("oldest due:"), formatting.moment(waiting.oldest_due_at, endpoint.now)),
        )

    @admin.display(description=gettext_lazy("behind"))
    def behind(self, endpoint: Any) -> SafeString | str:
        convergence = endpoint.figures.convergence
        if convergence is None:
            return formatting.NOTHING
        never = _("%(number)s never sent") % {"number": formatting.number(convergence.never_sent)}
        counted = formatting.counted(convergence, endpoint.now)
        return format_html(
            '{}<br><span class="lp-quiet">{}{}{}</span>',
            formatting.number(convergence.behind),
            never,
            ". " if counted else "",
            counted,
        )

    @admin.display(description=gettext_lazy("set-up"))
    def set_up(self, endpoint: Any) -> SafeString:
        more: list[str] = [_("signed")] if endpoint.signing_secret is not None else []
        more += [_("only listed members")] if endpoint.audience == Audience.LISTED else []
        more += [_("synchronizes the third-party ID")] if endpoint.capture_third_party_id else []
        if count := endpoint.figures.conflicts:
            more.append(linked(endpoint, conflicts_in_words(count), cause=ErrorCode.ID_CONFLICT))
        login = LOGINS[AuthMethod(endpoint.auth_method)]
        warning = credential_age.warning(endpoint, endpoint.now) or ""
        options = format_html_join(", ", "{}", ((option,) for option in more))
        return format_html('{} {}<br><span class="lp-quiet">{}</span>', login, warning, options)

    # The form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Mask posted secrets, because not every error reporter knows Django's marks for sensitive values."""
        request.POST = with_masked_secrets(request.POST)  # type: ignore[assignment]
        return super().changeform_view(request, *args, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm[Any]]:
        credentials = may(request, "change_endpoint_credentials")
        form = EndpointFormWithCredentials if credentials else EndpointForm
        return super().get_form(request, obj, change=change, form=form, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        credentials = CREDENTIAL_FIELDS if may(request, "change_endpoint_credentials") else CREDENTIAL_FIELDS[:2]
        address = "url"
        if not self.has_change_permission(request, obj) and obj is not None:
            credentials, address = CREDENTIAL_FIELDS[:2], "address"
        # Only a disabled endpoint has a reason to show.
        state = ["is_active", "why_disabled"] if obj is not None and not obj.is_active else ["is_active"]
        wire = ["timeframe_score_alias", "null_levels_as_objects", "mobile_verified_as_date", "withheld_fields"]
        if obj is None:
            # A stored endpoint's audience is changed on a page of its own, which counts the members first.
            wire.insert(0, "audience")
        return [
            (None, {"fields": ["name", address, *state, "contact_email"]}),
            (_("How we log in"), {"fields": credentials, "classes": ["lp-credentials"]}),
            (_("What comes back"), {"fields": ["capture_third_party_id"]}),
            (
                _("When and how fast"),
                {"fields": ["ordering", "retry_policy", "max_in_flight", "rate_limit_per_second"]},
            ),
            (_("What is sent"), {"fields": [*wire, "extra_headers"]}),
            (_("What is left out"), {"fields": ["only_changes", "ignored_keys"]}),
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
        return str(translated(endpoint.disabled_reason)) or formatting.NOTHING

    @admin.display(description="URL")
    def address(self, endpoint: Any) -> str:
        """Return the URL with masked query values, for users who may not change it."""
        return endpoint_url.shown_url(endpoint.url)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if obj.is_active:
            obj.disabled_reason = ""
        elif "is_active" in form.changed_data:
            obj.disabled_reason = paused_by(request)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_add(request, obj, *args, **kwargs)
        page = AudiencePage(self)
        if obj.audience == Audience.LISTED and page.allows(request):
            return HttpResponseRedirect(page.url(obj.pk))
        return response

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deleting an endpoint would delete its log, perhaps millions of rows, in one request. Disabling it is enough.
        return super().has_delete_permission(request, obj) and (
            obj is not None and not current_rows(request, Delivery.objects.filter(endpoint=obj)).exists()
        )

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        endpoint = kwargs.get("obj")
        if endpoint is not None:
            context.update(self.panel(request, endpoint))
        return super().render_change_form(request, context, *args, **kwargs)

    def panel(self, request: HttpRequest, endpoint: Any) -> dict[str, Any]:
        """Return the context of the panel above the form: the endpoint's figures, and the pages that the user may "
        "open."""
        figures = pages.of_endpoints([endpoint], endpoint.now)[endpoint.pk]
        convergence = figures.convergence
        day, week = (
            EndpointHour.objects.since(endpoint.now - period).filter(endpoint=endpoint) for period in SHOWN_PERIODS
        )
        durations = accepted_durations(week).get(endpoint.pk, {})
        return {
            "badge": formatting.endpoint_badge(endpoint, endpoint.health, endpoint.now),
            "host": host_of(endpoint),
            "facts": [
                (_("Accepted in 24 hours"), formatting.share(figures.day)),
                (_("Accepted in 7 days"), formatting.share(pages.shares(week).get(endpoint.pk, pages.Share()))),
                *left_out_in_words(endpoint, figures.day.left_out),
                (_("Took, in 7 days: p50"), at_most(percentile(durations, 0.5))),
                (_("Took, in 7 days: p99"), at_most(percentile(durations, 0.99))),
                (_("Last success"), formatting.moment(endpoint.health.last_success_at, endpoint.now)),
                (_("Last failure"), formatting.moment(endpoint.health.last_failure_at, endpoint.now)),
                (_("Failures in a row"), formatting.number(endpoint.health.failures_in_row)),
                (_("Audience"), audience_in_words(endpoint)),
                (_("Waiting"), formatting.number(figures.waiting.deliveries)),
                (_("Oldest due"), formatting.moment(figures.waiting.oldest_due_at, endpoint.now)),
                (
                    _("Behind"),
                    format_html(
                        '{} <span class="lp-quiet">{}</span>',
                        formatting.NOTHING if convergence is None else formatting.number(convergence.behind),
                        formatting.counted(convergence, endpoint.now),
                    ),
                ),
                (
                    _("Never sent"),
                    formatting.NOTHING if convergence is None else formatting.number(convergence.never_sent),
                ),
            ],
            "causes": causes(day)[:5],
            "recent": recent(Delivery.objects.filter(endpoint=endpoint), endpoint.now)
            if may(request, "view_delivery")
            else None,
            "deliveries_url": deliveries_url(endpoint),
            "failed_url": deliveries_url(endpoint, status__exact="failed"),
            "page_urls": {page.name: page.url(endpoint.pk) for page in self._pages_of_one(request)},
            "overview_url": OverviewPage(self).url(),
        }

    def _pages_of_one(self, request: HttpRequest) -> list[Page]:
        """Return the pages about a single endpoint that the user may open."""
        pages = [page(self) for page in self.pages if page is not OverviewPage]
        return [page for page in pages if page.allows(request)]

    # The actions

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may send test pushes."""
        return TestPushPage(self).allows(request)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause and resume endpoints."""
        return SwitchPage(self).allows(request)

    @admin.action(description=gettext_lazy("Send test push"), permissions=["test"])
    def send_test_push(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(queryset.values_list("pk", flat=True)[:2])
        if len(chosen) == 1:
            return HttpResponseRedirect(TestPushPage(self).url(chosen[0]))
        self.message_user(
            request, _("Select only one endpoint: each test push shows its own result."), messages.WARNING
        )
        return None

    @admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        active = list(queryset.filter(is_active=True))
        if active and "confirmed" not in request.POST:
            return SwitchPage(self).confirm_pause(request, active)
        SwitchPage(self).pause(request, queryset)
        return None

    @admin.action(description=gettext_lazy("Resume"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        SwitchPage(self).resume(request, queryset)


def left_out_in_words(endpoint: ClientEndpoint, count: int) -> list[tuple[str, str]]:
    """Return the fact how many deliveries held nothing new, if the endpoint gets only changes or did so."""
    return [(_("Held nothing new, in 24 hours"), formatting.number(count))] if endpoint.only_changes or count else []


def host_of(endpoint: ClientEndpoint) -> str:
    """Return the host, without path and query, which may contain a token.

    For an internationalized name, the readable form follows in parentheses.
    """
    try:
        sent = endpoint.origin.removeprefix("https://").removesuffix(":443")
        shown = endpoint_url.display_host(endpoint.url)
    except EndpointUrlError:
        return ""
    return f"{sent} ({shown})" if "xn--" in sent else sent


def linked(endpoint: Any, text: str, **filters: str) -> SafeString | str:
    """Return a figure of a row, as a link to the deliveries that it counts if the user may see them."""
    if not endpoint.may_see_deliveries:
        return text
    return format_html('<a href="{}">{}</a>', deliveries_url(endpoint, **filters), text)


def deliveries_url(endpoint: ClientEndpoint, **filters: str) -> str:
    """Return the address of the list of the endpoint's deliveries."""
    query = "&".join(f"{name}={value}" for name, value in {"endpoint": str(endpoint.pk), **filters}.items())
    return f"{reverse('admin:live_push_delivery_changelist')}?{query}"
