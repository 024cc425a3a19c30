"""The overview: are pushes going out, where not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push.delivery.statistics import percentile
from live_push.models import ClientEndpoint, EndpointHour
from live_push.models.clock import db_now
from live_push.models.statistics import HOUR

from . import figures, words
from .base import LivePushAdmin
from .figures import Share
from .pictures import Column, columns

PERIODS: Final = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}


@dataclass(frozen=True)
class Hour:
    """What all endpoints together did in one hour."""

    began: datetime
    share: Share


class Overview(LivePushAdmin):
    """The page; it belongs to the endpoints, because it compares them."""

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """All figures of one period."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = db_now(router.db_for_read(ClientEndpoint))
        period = request.GET.get("period", "24h")
        period = period if period in PERIODS else "24h"
        since = now - PERIODS[period]
        endpoints = list(ClientEndpoint.objects.select_related("health"))
        only = next((one for one in endpoints if str(one.pk) == request.GET.get("endpoint")), None)
        chosen = endpoints if only is None else [only]
        statistics = EndpointHour.objects.since(since).filter(endpoint__in=[one.pk for one in chosen])
        hours = per_hour(statistics, since, now)
        total = Share(sum(hour.share.accepted for hour in hours), sum(hour.share.attempts for hour in hours))
        rows = endpoint_rows(chosen, statistics, now)
        waiting = figures.waiting([one.pk for one in chosen])
        return self.page(
            request,
            "overview.html",
            title=_("Overview") if only is None else _("Overview of “%(name)s”") % {"name": only.name},
            original=only,
            endpoints=sorted(endpoints, key=lambda one: one.name),
            sentence=in_a_sentence(rows, total, waiting),
            period=period,
            periods=[("24h", _("24 hours")), ("7d", _("7 days"))],
            chart=chart(hours),
            hours=hours,
            rows=rows,
            trouble=[row for row in rows if row["badge"].tone in ("bad", "warn")],
            causes=causes(statistics),
            workers=[(worker, words.moment(worker.seen_at, now)) for worker in figures.workers(now)],
        )

    def own_urls(self) -> Iterable[URLPattern]:
        view = self.admin_site.admin_view(self.overview_view)
        return [*super().own_urls(), path("overview/", view, name="live_push_overview")]


def per_hour(statistics: QuerySet[EndpointHour], since: datetime, now: datetime) -> list[Hour]:
    """Every hour of a period, also those in which nothing was sent, oldest first."""
    accepted: Counter[datetime] = Counter()
    attempts: Counter[datetime] = Counter()
    rows = statistics.order_by().values_list("hour", "error_code").annotate(Sum("attempts"))
    for hour, error_code, count in rows:
        attempts[hour] += count
        accepted[hour] += 0 if error_code else count
    last = now.replace(minute=0, second=0, microsecond=0)
    began = [last - place * HOUR for place in range(int((now - since) / HOUR) + 1)]
    return [Hour(hour, Share(accepted[hour], attempts[hour])) for hour in sorted(began) if hour > since - HOUR]


def chart(hours: list[Hour]) -> Any:
    """Throughput by hour."""
    most = max((hour.share.attempts for hour in hours), default=0)
    described = _("attempts by hour, at most %(most)s; the table below has the numbers") % {"most": words.number(most)}
    every = 24 if len(hours) > 48 else 6
    data = [
        # No label in the last places, where it would be cut.
        Column(
            hour.share.accepted,
            hour.share.failed,
            label(hour.began) if place % every == 0 and place < len(hours) - 3 else "",
        )
        for place, hour in enumerate(hours)
    ]
    return columns(data, title=_("Throughput"), description=described)


def label(moment: datetime) -> str:
    """An hour under the chart."""
    return date_format(timezone.localtime(moment), "D H:i")


def endpoint_rows(
    endpoints: list[ClientEndpoint], statistics: QuerySet[EndpointHour], now: datetime
) -> list[dict[str, Any]]:
    """One row for each endpoint, trouble first."""
    shares, waiting = figures.shares(statistics), figures.waiting([endpoint.pk for endpoint in endpoints])
    converged, durations = figures.converged_by_endpoint(), accepted_durations(statistics)
    rows = [
        {
            "endpoint": endpoint,
            "badge": words.endpoint_badge(endpoint, endpoint.health, now),
            "share": words.share(shares.get(endpoint.pk, Share())),
            "p50": at_most(percentile(durations.get(endpoint.pk, {}), 0.5)),
            "p99": at_most(percentile(durations.get(endpoint.pk, {}), 0.99)),
            "waiting": waiting.get(endpoint.pk, figures.Waiting()).deliveries,
            "oldest": words.moment(waiting.get(endpoint.pk, figures.Waiting()).oldest_due_at, now),
            "convergence": converged.get(endpoint.pk),
        }
        for endpoint in endpoints
    ]
    order = {"bad": 0, "warn": 1}
    return sorted(rows, key=lambda row: (order.get(row["badge"].tone, 2), row["endpoint"].name))


def accepted_durations(statistics: QuerySet[EndpointHour]) -> Mapping[int, Mapping[int, int]]:
    """How many accepted attempts ended within how many milliseconds, by endpoint."""
    found: dict[int, dict[int, int]] = {}
    hours = statistics.filter(error_code="").order_by()
    for pk, within_ms, count in hours.values_list("endpoint", "within_ms").annotate(Sum("attempts")):
        found.setdefault(pk, {})[within_ms] = count
    return found


def at_most(milliseconds: int | None) -> str:
    """A percentile, which is known as an upper bound."""
    return words.NOTHING if milliseconds is None else f"≤ {words.milliseconds(milliseconds)}"


def causes(statistics: QuerySet[EndpointHour]) -> list[dict[str, Any]]:
    """Why attempts failed, the most frequent cause first."""
    rows = statistics.exclude(error_code="").order_by()
    counted = rows.values_list("error_code").annotate(total=Sum("attempts")).order_by("-total", "error_code")
    return [{"code": code, "count": count, "explanation": words.explained(code)} for code, count in counted]


def in_a_sentence(rows: list[dict[str, Any]], total: Share, waiting: Mapping[int, figures.Waiting]) -> str:
    """The answer for who has five seconds."""
    well = sum(row["badge"].tone == "ok" for row in rows)
    backlog = sum(item.deliveries for item in waiting.values())
    sentence = ngettext(
        "%(well)s of %(count)s endpoint is well.", "%(well)s of %(count)s endpoints are well.", len(rows)
    ) % {"well": words.number(well), "count": words.number(len(rows))}
    if total.percent is not None:
        sentence += " " + _("Accepted: %(share)s attempts.") % {"share": words.share_in_words(total)}
    return (
        sentence
        + " "
        + ngettext("%(count)s delivery waits.", "%(count)s deliveries wait.", backlog)
        % {"count": words.number(backlog)}
    )
