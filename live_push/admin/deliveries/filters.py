"""Filters and search for a log of millions of rows. They use indexes and never count rows or search in texts."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.db import router
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from live_push.admin.shared.base import ROWS_LISTED
from live_push.models import Attempt, Delivery, DeliveryStatus, EndpointHour, Push, PushTrigger, UserProfile
from live_push.models.clock import db_now
from live_push.models.databases import read_from
from live_push.models.hours import HOUR
from live_push.rules.parse_id import parse_id
from live_push.rules.result import STATUS_2XX, ErrorCode

RECORDED_PERIODS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
HOURS_LOOKED_THROUGH: Final = 24
NOT_SUCCEEDED: Final = [status for status in DeliveryStatus if status != DeliveryStatus.SUCCEEDED]


class RecordedFilter(admin.SimpleListFilter):
    """Filters by the time at which a delivery was recorded."""

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
        period = RECORDED_PERIODS.get(self.value() or "")
        return queryset if period is None else recorded_since(queryset, db_now(read_from(queryset)) - period)


def recorded_since(deliveries: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Return the deliveries recorded since then.

    Ids rise with time, so a binary search on the primary key replaces an index.
    """
    log = Delivery.objects.using(read_from(deliveries)).order_by("pk").values_list("pk", "created_at")
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
    """Filters by the error code of the last failure."""

    title = _("cause")
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        # Only codes of the last week, because the list of all codes would fill the page.
        week = EndpointHour.objects.since(db_now(router.db_for_read(EndpointHour)) - RECORDED_PERIODS["week"]).exclude(
            error_code=""
        )
        seen = set(week.order_by().values_list("error_code", flat=True).distinct()) | {request.GET.get("cause", "")}
        return [(code, code) for code in sorted(seen) if code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        if self.value() == ErrorCode.ID_CONFLICT:
            return in_conflict(queryset)
        return queryset.filter(last_error_code=self.value())


def in_conflict(deliveries: QuerySet[Any]) -> QuerySet[Any]:
    """Return the deliveries that were accepted with the third-party id of another member, from the last hours with any.

    Only the attempts store this, without an index. The hourly statistics show in which hours to look.
    """
    using = read_from(deliveries)
    counted = EndpointHour.objects.using(using).in_conflict().order_by("-hour")
    hours = list(counted.values_list("endpoint", "hour").distinct()[:HOURS_LOOKED_THROUGH])
    if not hours:
        return deliveries.none()
    then = Q()
    for endpoint_id, hour in hours:
        then |= Q(endpoint=endpoint_id, ended_at__gte=hour, ended_at__lt=hour + HOUR)
    conflict = Attempt.objects.using(using).filter(delivery=OuterRef("pk"), capture_conflict=True)
    accepted = Delivery.objects.using(using).filter(then, Exists(conflict), status=DeliveryStatus.SUCCEEDED)
    return deliveries.filter(pk__in=list(accepted.order_by().values_list("pk", flat=True)[: ROWS_LISTED + 1]))


class TriggerFilter(admin.SimpleListFilter):
    """Filters by the cause of the push. Test pushes are not recorded, so they can't be chosen."""

    title = _("cause of the push")
    parameter_name = "trigger"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(PushTrigger.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return caused_by(queryset, self.value() or "") if self.value() in PushTrigger.values else queryset


def caused_by(deliveries: QuerySet[Any], trigger: str) -> QuerySet[Any]:
    """Return the deliveries whose push has this trigger.

    If such pushes are few, they are looked up first. If not, the newest deliveries are scanned, which soon fill a page.
    The database can't choose between the two, because its statistics about a join do not consider the limit.
    """
    using = read_from(deliveries)
    pushes = Push.objects.using(using)
    newest = list(pushes.filter(trigger=trigger).order_by("-pk").values_list("pk", flat=True)[: ROWS_LISTED + 1])
    if len(newest) <= ROWS_LISTED:
        return deliveries.filter(push__in=newest)
    last = Delivery.objects.using(using).filter(push__in=newest[:1]).aggregate(last=Max("pk"))["last"]
    # Ids rise with time, except in concurrent transactions.
    recent = deliveries if last is None else deliveries.filter(pk__lte=last + ROWS_LISTED)
    own = pushes.filter(pk=OuterRef("push")).values("trigger")
    matching: QuerySet[Any] = recent.alias(push_trigger=Subquery(own)).filter(push_trigger=trigger)
    return matching


class AnswerFilter(admin.SimpleListFilter):
    """Filters by the status class of the last answer."""

    title = _("last answer")
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("2", "2xx"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx"), ("none", _("none came"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "2":
                # Most deliveries match, so a page is full after a short scan of the primary key.
                return queryset.filter(last_status_code__range=(STATUS_2XX[0], STATUS_2XX[-1]))
            case "3" | "4" | "5" as digit:
                first = 100 * int(digit)
                answered = queryset.filter(last_status_code__range=(first, first + 99))
            case "none":
                answered = queryset.filter(last_status_code=None, attempts_made__gt=0)
            case _:
                return queryset
        # Succeeded deliveries were answered 2xx. Excluding them lets the database skip most of the log.
        return answered.filter(status__in=NOT_SUCCEEDED)


def search(deliveries: QuerySet[Any], term: str, *, by_email: bool) -> QuerySet[Any]:
    """Return exact matches of an event id, a member's id or third-party id; with ``by_email`` also of an address."""
    term = term.strip()
    try:
        event_id = uuid.UUID(term)
    except ValueError:
        pass
    else:
        return deliveries.filter(push__in=Push.objects.filter(event_id=event_id))
    members = Q(third_party_id=term)
    if (pk := parse_id(term)) is not None:
        members |= Q(pk=pk)
    if by_email and "@" in term:
        members |= Q(email_address=term)
    # The few ids are read first, so that an index finds the deliveries.
    profile_ids = list(UserProfile.objects.filter(members).order_by("pk").values_list("pk", flat=True)[:100])
    return deliveries.filter(profile__in=profile_ids)
