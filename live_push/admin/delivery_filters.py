"""How deliveries are found among millions: by what has an index, never by counting or by text."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from live_push.delivery.result import ErrorCode
from live_push.ids import as_id
from live_push.models import Attempt, Delivery, DeliveryStatus, EndpointHour, Push, PushTrigger, UserProfile
from live_push.models.clock import db_now
from live_push.models.statistics import HOUR

from .base import ROWS_LISTED

PERIODS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
HOURS_LOOKED_THROUGH: Final = 24
NOT_SUCCEEDED: Final = [status for status in DeliveryStatus if status != DeliveryStatus.SUCCEEDED]


class RecordedFilter(admin.SimpleListFilter):
    """By when a delivery was recorded."""

    title = _("recorded")
    parameter_name = "recorded"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("hour", _("past hour")),
            ("day", _("past 24 hours")),
            ("week", _("past 7 days")),
            ("month", _("past 30 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        period = PERIODS.get(self.value() or "")
        return queryset if period is None else recorded_since(queryset, db_now(queryset.db) - period)


def recorded_since(deliveries: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Those recorded since then. Ids rise with time, so a binary search on the primary key does without an index."""
    log = Delivery.objects.using(deliveries.db).order_by("pk").values_list("pk", "created_at")
    newest = log.last()
    if newest is None or newest[1] < moment:
        return deliveries.none()
    low, high = 0, newest[0]
    while low < high:
        middle = (low + high) // 2
        pk, created_at = log.filter(pk__gte=middle).first() or newest
        low, high = (pk + 1, high) if created_at < moment else (low, middle)
    return deliveries.filter(pk__gte=low)


class ErrorCodeFilter(admin.SimpleListFilter):
    """By the cause of the last failure."""

    title = _("cause")
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        # Only what happens: the whole vocabulary would fill the page.
        week = EndpointHour.objects.since(db_now(EndpointHour.objects.db) - PERIODS["week"]).exclude(error_code="")
        seen = set(week.order_by().values_list("error_code", flat=True).distinct()) | {request.GET.get("cause", "")}
        return [(code, code) for code in sorted(seen) if code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        if self.value() == ErrorCode.ID_CONFLICT:
            return in_conflict(queryset)
        return queryset.filter(last_error_code=self.value())


def in_conflict(deliveries: QuerySet[Any]) -> QuerySet[Any]:
    """Those that were accepted with the third-party id of another member, of the last hours that had any.

    Only their attempts know, and have no index for it: the statistics tell in which hours to look.
    """
    counted = EndpointHour.objects.using(deliveries.db).in_conflict().order_by("-hour")
    hours = list(counted.values_list("endpoint", "hour").distinct()[:HOURS_LOOKED_THROUGH])
    if not hours:
        return deliveries.none()
    then = Q()
    for endpoint_id, hour in hours:
        then |= Q(endpoint=endpoint_id, ended_at__gte=hour, ended_at__lt=hour + HOUR)
    conflict = Attempt.objects.using(deliveries.db).filter(delivery=OuterRef("pk"), capture_conflict=True)
    accepted = Delivery.objects.using(deliveries.db).filter(then, Exists(conflict), status=DeliveryStatus.SUCCEEDED)
    return deliveries.filter(pk__in=list(accepted.order_by().values_list("pk", flat=True)[:ROWS_LISTED]))


class TriggerFilter(admin.SimpleListFilter):
    """By what caused the push. A test push is not among it: it leaves no trace."""

    title = _("cause of the push")
    parameter_name = "trigger"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(PushTrigger.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return caused_by(queryset, self.value() or "") if self.value() in PushTrigger.values else queryset


def caused_by(deliveries: QuerySet[Any], trigger: str) -> QuerySet[Any]:
    """Those whose push has this trigger: found through the pushes where these are few, else picked from the newest.

    The database can't choose between the two by itself: what it knows of a join leaves out that a page is soon full.
    """
    pushes = Push.objects.using(deliveries.db)
    newest = list(pushes.filter(trigger=trigger).order_by("-pk").values_list("pk", flat=True)[: ROWS_LISTED + 1])
    if len(newest) <= ROWS_LISTED:
        return deliveries.filter(push__in=newest)
    last = Delivery.objects.using(deliveries.db).filter(push__in=newest[:1]).aggregate(last=Max("pk"))["last"]
    # Ids rise with time, but for transactions that ran side by side.
    recent = deliveries if last is None else deliveries.filter(pk__lte=last + ROWS_LISTED)
    own = pushes.filter(pk=OuterRef("push")).values("trigger")
    found: QuerySet[Any] = recent.alias(push_trigger=Subquery(own)).filter(push_trigger=trigger)
    return found


class AnswerFilter(admin.SimpleListFilter):
    """By the class of the last answer's status."""

    title = _("last answer")
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("2", "2xx"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx"), ("none", _("none came"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "2":
                # Most of a log is: a page is full after a few steps along the primary key.
                return queryset.filter(last_status_code__range=(200, 299))
            case "3" | "4" | "5" as digit:
                first = 100 * int(digit)
                answered = queryset.filter(last_status_code__range=(first, first + 99))
            case "none":
                answered = queryset.filter(last_status_code=None, attempts_made__gt=0)
            case _:
                return queryset
        # What succeeded was answered 2xx; to say so lets the database pass over most of the log.
        return answered.filter(status__in=NOT_SUCCEEDED)


def search(deliveries: QuerySet[Any], term: str, *, by_email: bool) -> QuerySet[Any]:
    """Exact matches only: an event id, a member's id or third-party id, with ``by_email`` also an e-mail address."""
    term = term.strip()
    try:
        event_id = uuid.UUID(term)
    except ValueError:
        pass
    else:
        return deliveries.filter(push__in=Push.objects.filter(event_id=event_id))
    members = Q(third_party_id=term)
    if (pk := as_id(term)) is not None:
        members |= Q(pk=pk)
    if by_email and "@" in term:
        members |= Q(email_address=term)
    # The ids first: few, and so the deliveries are found by an index.
    found = list(UserProfile.objects.filter(members).order_by("pk").values_list("pk", flat=True)[:100])
    return deliveries.filter(profile__in=found)
