"""How deliveries are found among millions: by what has an index, never by counting or by text."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from live_push.ids import as_id
from live_push.models import Delivery, DeliveryStatus, EndpointHour, Push, UserProfile
from live_push.models.clock import db_now

PERIODS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
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
        week = EndpointHour.objects.since(db_now(EndpointHour.objects.db) - PERIODS["week"]).failed()
        seen = set(week.order_by().values_list("error_code", flat=True).distinct()) | {request.GET.get("cause", "")}
        return [(code, code) for code in sorted(seen) if code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # What succeeded has no last error; to say so lets the database pass over most of the log.
        return queryset.filter(last_error_code=self.value()).filter(status__in=NOT_SUCCEEDED)


class AnswerFilter(admin.SimpleListFilter):
    """By the class of the last answer's status.

    No 2xx: what was accepted is a state, and a 2xx that was not has a cause of its own.
    """

    title = _("last answer")
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("3", "3xx"), ("4", "4xx"), ("5", "5xx"), ("none", _("none came"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
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
