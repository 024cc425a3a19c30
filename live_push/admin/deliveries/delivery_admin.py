"""The delivery log: a list that stays fast with millions of rows, and a page for each delivery. Both are read-only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from live_push.admin.shared import formatting, idempotency
from live_push.admin.shared.base import LivePushAdmin
from live_push.admin.shared.permissions import may
from live_push.models import Attempt, ClientEndpoint, Delivery, DeliveryStatus
from live_push.models.clock import DbNow

from . import story as delivery_story
from .action_page import ActionPage
from .actions import ACTIONS, applies_to
from .bulk_page import BulkPage
from .filters import AnswerFilter, ErrorCodeFilter, RecordedFilter, TriggerFilter, search


class DeliveryChangeList(ChangeList):
    """Newest first; filtered by status, by the time of the end, because that is the order of the index."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-ended_at", "-pk"] if "status__exact" in self.params else ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        # No join: MariaDB would start from the few endpoints and sort the whole log to show one page.
        deliveries = super().get_queryset(request, exclude_parameters)
        endpoints = ClientEndpoint.objects.select_related("health")
        return deliveries.select_related(None).prefetch_related("push", "profile", Prefetch("endpoint", endpoints))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Leave out deliveries of an endpoint that was deleted by raw SQL; live_push_prune deletes them.
        self.result_list = [delivery for delivery in self.result_list if hasattr(delivery, "endpoint")]
        may_see_member = may(request, "view_userprofile")
        durations = last_durations([delivery.pk for delivery in self.result_list])
        endpoints = {delivery.endpoint_id: delivery.endpoint for delivery in self.result_list}
        limits = {pk: endpoint.policy.max_attempts for pk, endpoint in endpoints.items()}
        for delivery in self.result_list:
            delivery.took_ms = durations.get(delivery.pk)
            delivery.most_attempts = limits[delivery.endpoint_id]
            delivery.may_see_member = may_see_member


@admin.register(Delivery)
class DeliveryAdmin(LivePushAdmin):
    """The log."""

    pages = (BulkPage, ActionPage)

    list_display = ("state", "event", "member", "attempts", "took", "times")
    list_display_links = ("event",)
    list_filter = ("status", RecordedFilter, ErrorCodeFilter, AnswerFilter, TriggerFilter, "endpoint")
    search_fields = ("pk",)
    sortable_by = ()
    # Counting the rows of each filter would take too long with millions of rows.
    show_facets = admin.ShowFacets.NEVER
    actions = ("redeliver", "resend", "cancel", "erase_content")
    change_form_template = "admin/live_push/delivery/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        deliveries: QuerySet[Any] = (
            super().get_queryset(request).select_related("push", "endpoint__health").annotate(now=DbNow())
        )
        return deliveries

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeliveryChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if search_term.strip():
            queryset = search(queryset, search_term, by_email=may(request, "view_userprofile"))
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        search_help = _("Enter an exact event id, member id or third-party id.")
        if may(request, "view_userprofile"):
            search_help = _("Enter an exact event id, member id, third-party id or e-mail address.")
        context = {"search_help": search_help, "quick_views": quick_views(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=gettext_lazy("state"))
    def state(self, delivery: Any) -> SafeString:
        badge = formatting.delivery_badge(delivery)
        return format_html('{}<br><span class="lp-quiet">{}</span>', badge, delivery.get_reason_display())

    @admin.display(description=gettext_lazy("event and endpoint"))
    def event(self, delivery: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">{}</span>', delivery.push.short_id, delivery.endpoint.name)

    @admin.display(description=gettext_lazy("member"))
    def member(self, delivery: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">{}</span>', who(delivery), delivery.push.get_trigger_display())

    @admin.display(description=gettext_lazy("attempts"))
    def attempts(self, delivery: Any) -> SafeString:
        last = " ".join(str(part) for part in (delivery.last_status_code, delivery.last_error_code) if part)
        # The limit applies to the current run. Attempts of earlier runs are shown beside it.
        made = _("%(made)s of %(most)s") % {
            "made": formatting.number(delivery.run_attempts),
            "most": formatting.number(delivery.most_attempts),
        }
        if delivery.attempts_made > delivery.run_attempts:
            made += " " + _("(%(count)s in all)") % {"count": formatting.number(delivery.attempts_made)}
        return format_html('{}<br><span class="lp-quiet">{}</span>', made, last)

    @admin.display(description=gettext_lazy("last took"))
    def took(self, delivery: Any) -> str:
        return formatting.milliseconds(delivery.took_ms)

    @admin.display(description=gettext_lazy("recorded, next attempt"))
    def times(self, delivery: Any) -> SafeString:
        recorded = formatting.moment(delivery.created_at, delivery.now)
        if delivery.next_attempt_at is None:
            return format_html("{}", recorded)
        awaited = delivery_story.awaited(delivery, delivery.now)
        return format_html("{}<br>{} {}", recorded, _("next:"), awaited)

    # The log is read-only. Each action has a permission of its own.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, "view_delivery")

    # The page of a delivery

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context.update(self.story(request, kwargs["obj"]))
        return super().render_change_form(request, context, *args, **kwargs)

    def story(self, request: HttpRequest, delivery: Any) -> dict[str, Any]:
        """Return what the page shows."""
        body = delivery_story.body_of(delivery)
        attempts = delivery_story.attempts(delivery, body)
        given_up = delivery_story.given_up_at(delivery)
        return {
            "title": _("Delivery to “%(name)s”") % {"name": delivery.endpoint.name},
            "subtitle": None,
            "badge": formatting.delivery_badge(delivery),
            "body": body,
            "timeline": timeline(attempts, delivery_story.history(delivery), delivery.now),
            "latest": attempts[-1] if attempts else None,
            "recorded": formatting.moment(delivery.created_at, delivery.now),
            "ended": formatting.moment(delivery.ended_at, delivery.now),
            "schedule": formatting.schedule(delivery.endpoint.policy),
            "given_up": formatting.moment(given_up, delivery.now) if given_up else "",
            "next_step": delivery_story.what_happens_next(delivery, delivery.now),
            "comparison": delivery_story.compared(delivery),
            "may_see_content": may(request, "view_delivery_content"),
            "may_see_member": may(request, "view_userprofile"),
            "may_see_endpoint": may(request, "view_clientendpoint"),
            "actions": [
                action
                for action in ACTIONS.values()
                if may(request, action.permission) and applies_to(action, delivery)
            ],
            "action_url": ActionPage(self).url(delivery.pk),
            "idempotency_key": idempotency.new_key(),
        }

    # The actions

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may redeliver."""
        return may(request, ACTIONS["redeliver"].permission)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resend."""
        return may(request, ACTIONS["resend"].permission)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel waiting deliveries."""
        return may(request, ACTIONS["cancel"].permission)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may erase content."""
        return may(request, ACTIONS["erase_content"].permission)

    @admin.action(description=ACTIONS["redeliver"].label, permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return BulkPage(self).confirm(request, queryset, ACTIONS["redeliver"])

    @admin.action(description=ACTIONS["resend"].label, permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return BulkPage(self).confirm(request, queryset, ACTIONS["resend"])

    @admin.action(description=ACTIONS["cancel"].label, permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return BulkPage(self).confirm(request, queryset, ACTIONS["cancel"])

    @admin.action(description=ACTIONS["erase_content"].label, permissions=["erase"])
    def erase_content(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return BulkPage(self).confirm(request, queryset, ACTIONS["erase_content"])


def timeline(
    attempts: Iterable[delivery_story.ShownAttempt], entries: Iterable[delivery_story.HistoryEntry], now: datetime
) -> list[tuple[Any, Any, SafeString | str]]:
    """Return attempts and entries of the history by time: an attempt or ``None``, an entry or ``None``, and when."""
    rows: list[tuple[datetime, Any, Any]] = [(attempt.row.started_at, attempt, None) for attempt in attempts]
    rows += [(entry.at, None, entry) for entry in entries]
    rows.sort(key=lambda row: row[0])
    return [(attempt, entry, formatting.moment(at, now)) for at, attempt, entry in rows]


def last_durations(ids: list[int]) -> dict[int, int | None]:
    """Return the duration of each delivery's last attempt in milliseconds.

    It is one statement, which looks each delivery up in the index of the attempts.
    """
    newest = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-number").values("duration_ms")[:1]
    return dict(Delivery.objects.filter(pk__in=ids).order_by().values_list("pk", Subquery(newest)))


def who(delivery: Any) -> SafeString | str:
    """Return the member of a row: a link with the name if the user may see members, else the name's first letter."""
    if delivery.profile_id is None:
        return formatting.NOTHING
    if not delivery.may_see_member:
        return f"#{delivery.profile_id} {formatting.masked_name(delivery.profile.user_name)}"
    address = reverse("admin:live_push_userprofile_change", args=[delivery.profile_id])
    return format_html('<a href="{}">#{} {}</a>', address, delivery.profile_id, delivery.profile.user_name or "")


def quick_views(request: HttpRequest) -> list[tuple[Any, str, bool]]:
    """Return the links above the list that filter by status: name, address, and whether the filter is on.

    The links keep the other filters.
    """
    current = request.GET.get("status__exact", "")
    links: list[tuple[Any, str, bool]] = []
    for value, name in [("", _("all")), *DeliveryStatus.choices]:
        query = request.GET.copy()
        query.pop("p", None)
        query.pop("status__exact", None)
        if value:
            query["status__exact"] = value
        links.append((name, f"?{query.urlencode()}", value == current))
    return links
