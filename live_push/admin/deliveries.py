"""Deliveries: the log, as a list that stays fast and as a page that reads like a story. Nothing is edited here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from live_push.ids import as_id
from live_push.models import Attempt, ClientEndpoint, Delivery, DeliveryStatus
from live_push.models.clock import DbNow, db_now

from . import delivery_story, once, words
from .base import ROWS_LISTED, CappedPaginator, LivePushAdmin, may
from .delivery_actions import DEEDS, Deed, fits
from .delivery_filters import AnswerFilter, ErrorCodeFilter, RecordedFilter, TriggerFilter, search


class DeliveryChangeList(ChangeList):
    """Newest first; those of one status by when they ended, because that is what its index knows."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-ended_at", "-pk"] if "status__exact" in self.params else ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        # No join: MariaDB would begin at the few endpoints, and sort the whole log to show a page of it.
        found = super().get_queryset(request, exclude_parameters)
        endpoints = ClientEndpoint.objects.select_related("health")
        return found.select_related(None).prefetch_related("push", "profile", Prefetch("endpoint", endpoints))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Without those of an endpoint that is gone; live_push_prune deletes them.
        self.result_list = [delivery for delivery in self.result_list if hasattr(delivery, "endpoint")]
        may_see_member = may(request, "view_userprofile")
        took = last_durations([delivery.pk for delivery in self.result_list])
        endpoints = {delivery.endpoint_id: delivery.endpoint for delivery in self.result_list}
        bounds = {pk: endpoint.policy.most_attempts for pk, endpoint in endpoints.items()}
        for delivery in self.result_list:
            delivery.took_ms = took.get(delivery.pk)
            delivery.most_attempts = bounds[delivery.endpoint_id]
            delivery.may_see_member = may_see_member


@admin.register(Delivery)
class DeliveryAdmin(LivePushAdmin):
    """The log."""

    paginator = CappedPaginator
    list_display = ("state", "event", "member", "attempts", "took", "times")
    list_display_links = ("event",)
    list_filter = ("status", RecordedFilter, ErrorCodeFilter, AnswerFilter, TriggerFilter, "endpoint")
    search_fields = ("pk",)
    sortable_by = ()
    # Counts for every filter are what a log of millions can't give.
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
        helped = _("Exactly: an event id, a member's id, a third-party id.")
        if may(request, "view_userprofile"):
            helped = _("Exactly: an event id, a member's id, a third-party id, an e-mail address.")
        context = {"search_help": helped, "quick_views": quick_views(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=gettext_lazy("state"))
    def state(self, delivery: Any) -> SafeString:
        badge = words.delivery_badge(delivery)
        return format_html('{}<br><span class="lp-quiet">{}</span>', badge, delivery.get_reason_display())

    @admin.display(description=gettext_lazy("event and endpoint"))
    def event(self, delivery: Any) -> SafeString:
        short = str(delivery.push.event_id)[:8]
        return format_html('{}<br><span class="lp-quiet">{}</span>', short, delivery.endpoint.name)

    @admin.display(description=gettext_lazy("member"))
    def member(self, delivery: Any) -> SafeString:
        return format_html('{}<br><span class="lp-quiet">{}</span>', who(delivery), delivery.push.get_trigger_display())

    @admin.display(description=gettext_lazy("attempts"))
    def attempts(self, delivery: Any) -> SafeString:
        last = " ".join(str(part) for part in (delivery.last_status_code, delivery.last_error_code) if part)
        # The bound is one of the current run; what earlier runs made is told beside it.
        made = _("%(made)s of %(most)s") % {
            "made": words.number(delivery.run_attempts),
            "most": words.number(delivery.most_attempts),
        }
        if delivery.attempts_made > delivery.run_attempts:
            made += " " + _("(%(count)s in all)") % {"count": words.number(delivery.attempts_made)}
        return format_html('{}<br><span class="lp-quiet">{}</span>', made, last)

    @admin.display(description=gettext_lazy("last took"))
    def took(self, delivery: Any) -> str:
        return words.milliseconds(delivery.took_ms)

    @admin.display(description=gettext_lazy("recorded, next attempt"))
    def times(self, delivery: Any) -> SafeString:
        recorded = words.moment(delivery.created_at, delivery.now)
        if delivery.next_attempt_at is None:
            return format_html("{}", recorded)
        awaited = delivery_story.awaited(delivery, delivery.now)
        return format_html("{}<br>{} {}", recorded, _("next:"), awaited)

    # Read-only, all of it; who may do what stands in the permissions of the deeds.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, "view_delivery")

    # The story

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context.update(self.story(request, kwargs["obj"]))
        return super().render_change_form(request, context, *args, **kwargs)

    def story(self, request: HttpRequest, delivery: Any) -> dict[str, Any]:
        """All that the page tells."""
        body = delivery_story.body_of(delivery)
        chapters = delivery_story.chapters(delivery, body)
        given_up = delivery_story.given_up_at(delivery)
        return {
            "title": _("Delivery to “%(name)s”") % {"name": delivery.endpoint.name},
            "subtitle": None,
            "badge": words.delivery_badge(delivery),
            "body": body,
            "chapters": in_order(chapters, delivery_story.interventions(delivery), delivery.now),
            "latest": chapters[-1] if chapters else None,
            "recorded": words.moment(delivery.created_at, delivery.now),
            "ended": words.moment(delivery.ended_at, delivery.now),
            "schedule": words.schedule(delivery.endpoint.policy),
            "given_up": words.moment(given_up, delivery.now) if given_up else "",
            "next_step": delivery_story.next_step(delivery, delivery.now),
            "comparison": delivery_story.compared(delivery),
            "may_see_content": may(request, "view_delivery_content"),
            "may_see_member": may(request, "view_userprofile"),
            "may_see_endpoint": may(request, "view_clientendpoint"),
            "deeds": [deed for deed in DEEDS.values() if may(request, deed.permission) and fits(deed, delivery)],
            "deed_url": self.url("deed", delivery.pk),
            "once": once.token(),
        }

    # The deeds

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        """Whether the user may redeliver."""
        return may(request, DEEDS["redeliver"].permission)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resend."""
        return may(request, DEEDS["resend"].permission)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel what waits."""
        return may(request, DEEDS["cancel"].permission)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Whether the user may erase content."""
        return may(request, DEEDS["erase_content"].permission)

    @admin.action(description=DEEDS["redeliver"].label, permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self.confirm(request, queryset, DEEDS["redeliver"])

    @admin.action(description=DEEDS["resend"].label, permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self.confirm(request, queryset, DEEDS["resend"])

    @admin.action(description=DEEDS["cancel"].label, permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self.confirm(request, queryset, DEEDS["cancel"])

    @admin.action(description=DEEDS["erase_content"].label, permissions=["erase"])
    def erase_content(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self.confirm(request, queryset, DEEDS["erase_content"])

    def confirm(self, request: HttpRequest, queryset: QuerySet[Any], deed: Deed) -> HttpResponse | None:
        """The page between choosing many and doing it: how many, for whom, and what is left out."""
        chosen = list(queryset.order_by("-pk").values_list("pk", flat=True)[: ROWS_LISTED + 1])
        if len(chosen) > ROWS_LISTED:
            sentence = _("More than %(most)s are chosen. Narrow the choice, or use the command line.")
            self.message_user(request, sentence % {"most": words.number(ROWS_LISTED)}, messages.ERROR)
            return None
        return self._asked(request, deed, chosen, target=self.url("bulk"))

    def _asked(self, request: HttpRequest, deed: Deed, chosen: list[int], **context: Any) -> HttpResponse:
        plan = deed.plan(chosen, Delivery.objects.db)
        now = db_now(Delivery.objects.db)
        endpoints = ClientEndpoint.objects.select_related("health").in_bulk(
            list(dict(plan.by_endpoint)), field_name="name"
        )
        button = deed.button % {"count": words.Count(plan.count)}
        return self.page(
            request,
            "delivery/confirm.html",
            title=button,
            deed=deed,
            plan=plan,
            by_endpoint=[
                (name, count, words.endpoint_badge(endpoints[name], endpoints[name].health, now))
                for name, count in plan.by_endpoint
            ],
            recorded=[words.moment(moment, now) for moment in (plan.oldest, plan.newest)],
            button=button,
            # In one field, because the number of fields of a request is limited.
            chosen=",".join(map(str, chosen)),
            query=request.GET.urlencode(),
            changelist_url=self.url("changelist"),
            **context,
        )

    @method_decorator(require_POST)
    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """The confirmed deed for many; back to the list as it was filtered."""
        deed = DEEDS.get(request.POST.get("deed", ""))
        if deed is None or not may(request, deed.permission) or not self.has_view_permission(request):
            raise PermissionDenied
        typed = request.POST.get("chosen", "").split(",")[:ROWS_LISTED]
        ids = [pk for pk in map(as_id, typed) if pk is not None]
        self._do(request, deed, list(Delivery.objects.filter(pk__in=ids)))
        return HttpResponseRedirect(f"{self.url('changelist')}?{request.POST.get('query', '')}")

    @method_decorator(require_POST)
    def deed_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """One deed for one delivery: at once, or asked again where it can't be undone."""
        deed = DEEDS.get(request.POST.get("deed", ""))
        if deed is None:
            raise PermissionDenied
        delivery = self.found(request, pk, allowed=may(request, deed.permission))
        if deed.asks and "confirmed" not in request.POST:
            return self._asked(request, deed, [pk], original=delivery, target=self.url("deed", pk))
        self._do(request, deed, [delivery])
        return self.back_to(delivery)

    def _do(self, request: HttpRequest, deed: Deed, deliveries: list[Any]) -> None:
        ids, using = [delivery.pk for delivery in deliveries], Delivery.objects.db
        plan = deed.plan(ids, using)
        with self.done_once(request) as first:
            if not first:
                return
            count = deed.do(ids, using)
        self.note(request, [one for one in deliveries if one.pk in plan.taken], deed.label)
        if count:
            self.message_user(request, str(deed.done % {"count": words.Count(count)}), messages.SUCCESS)
        for why, number in plan.left_out:
            sentence = _("%(count)s left out: %(why)s.") % {"count": words.number(number), "why": why}
            self.message_user(request, sentence, messages.WARNING)

    def own_urls(self) -> Iterable[URLPattern]:
        return [
            *super().own_urls(),
            self.route("bulk/", self.bulk_view, "bulk"),
            self.route("<int:pk>/deed/", self.deed_view, "deed"),
        ]


def in_order(
    chapters: Iterable[delivery_story.Chapter], deeds: Iterable[delivery_story.Intervention], now: datetime
) -> list[tuple[Any, Any, SafeString | str]]:
    """Attempts and what people did, as it happened: an attempt or nothing, a deed or nothing, and when."""
    told: list[tuple[datetime, Any, Any]] = [(chapter.attempt.started_at, chapter, None) for chapter in chapters]
    told += [(deed.at, None, deed) for deed in deeds]
    return [(chapter, deed, words.moment(at, now)) for at, chapter, deed in sorted(told, key=lambda one: one[0])]


def last_durations(ids: list[int]) -> dict[int, int | None]:
    """How many milliseconds the last attempt of each delivery took; one look by index for each, in one statement."""
    newest = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-number").values("duration_ms")[:1]
    return dict(Delivery.objects.filter(pk__in=ids).order_by().values_list("pk", Subquery(newest)))


def who(delivery: Any) -> SafeString | str:
    """The member of a row: for those who may see members a link with the name, for others its first letter."""
    if delivery.profile_id is None:
        return words.NOTHING
    if not delivery.may_see_member:
        return f"#{delivery.profile_id} {words.masked(delivery.profile.user_name)}"
    address = reverse("admin:live_push_userprofile_change", args=[delivery.profile_id])
    return format_html('<a href="{}">#{} {}</a>', address, delivery.profile_id, delivery.profile.user_name or "")


def quick_views(request: HttpRequest) -> list[tuple[Any, str, bool]]:
    """The states as links above the list, which keep the other filters: name, address, whether it is shown now."""
    shown = request.GET.get("status__exact", "")
    found: list[tuple[Any, str, bool]] = []
    for value, name in [("", _("all")), *DeliveryStatus.choices]:
        query = request.GET.copy()
        query.pop("p", None)
        query.pop("status__exact", None)
        if value:
            query["status__exact"] = value
        found.append((name, f"?{query.urlencode()}", value == shown))
    return found
