"""The overview: are pushes going out, where not, and why."""

from __future__ import annotations

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

from live_push.delivery.result import ErrorCode
from live_push.models import ClientEndpoint, EndpointHour
from live_push.models.clock import db_now
from live_push.models.statistics import HOUR, EndpointHourQuerySet

from . import figures, words
from .base import LivePushAdmin
from .endpoint_table import DEFAULT, endpoint_rows, headings, sort
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
        order = request.GET.get("sort", DEFAULT)
        return self.page(
            request,
            "overview.html",
            title=_("Overview") if only is None else _("Overview of “%(name)s”") % {"name": only.name},
            original=only,
            endpoints=sorted(endpoints, key=lambda one: one.name),
            sentence=in_a_sentence(rows, total, waiting, now),
            period=period,
            periods=[("24h", _("24 hours")), ("7d", _("7 days"))],
            chart=chart(hours),
            most=max(hour.share.attempts for hour in hours),
            hours=hours,
            rows=sort(rows, order),
            headings=headings(request, order),
            order="" if order == DEFAULT else order,
            trouble=trouble(rows, now),
            causes=causes(statistics),
            workers=[(worker, words.moment(worker.seen_at, now)) for worker in figures.workers(now)],
        )

    def own_urls(self) -> Iterable[URLPattern]:
        view = self.admin_site.admin_view(self.overview_view)
        return [*super().own_urls(), path("overview/", view, name="live_push_overview")]


def per_hour(statistics: QuerySet[EndpointHour], since: datetime, now: datetime) -> list[Hour]:
    """Every hour of a period, also those in which nothing was sent, oldest first."""
    shares = figures.shares(statistics, by="hour")
    last = now.replace(minute=0, second=0, microsecond=0)
    began = [last - place * HOUR for place in range(int((now - since) / HOUR) + 1)]
    return [Hour(hour, shares.get(hour, Share())) for hour in sorted(began) if hour > since - HOUR]


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
    local = timezone.localtime(moment)
    return f"{date_format(local, 'D')} {date_format(local, 'TIME_FORMAT')}"


def causes(statistics: EndpointHourQuerySet) -> list[dict[str, Any]]:
    """Why attempts failed, the most frequent cause first."""
    rows = statistics.failed().order_by()
    counted = rows.values_list("error_code").annotate(total=Sum("attempts")).order_by("-total", "error_code")
    return [{"code": code, "count": count, "explanation": words.explained(code)} for code, count in counted]


@dataclass(frozen=True)
class Trouble:
    """One line of what needs attention; without an endpoint it is about all of them."""

    badge: words.Badge
    sentence: Any
    endpoint: ClientEndpoint | None = None
    cause: str = ""
    """The error code by which the deliveries concerned are found; empty where none are."""


def trouble(rows: list[dict[str, Any]], now: datetime) -> list[Trouble]:
    """What an operator should look at, each with what to do."""
    found = [
        Trouble(row["badge"], f"{row['badge'].detail} {row['badge'].remedy}".strip(), row["endpoint"])
        for row in rows
        if row["badge"].tone in ("bad", "warn")
    ]
    conflicts = figures.conflicts([row["endpoint"].pk for row in rows], now)
    for row in rows:
        if count := conflicts.get(row["endpoint"].pk, 0):
            badge = words.Badge(conflicts_in_words(count), "alert", "warn")
            sentence = words.explained(ErrorCode.ID_CONFLICT)
            found.append(Trouble(badge, sentence, row["endpoint"], ErrorCode.ID_CONFLICT.value))
    if (oldest := figures.unpruned(now)) is not None:
        sentence = _("Deliveries that ended on %(moment)s are past their retention. Run it daily: %(command)s")
        told = {"moment": words.clock_time(oldest, now), "command": "python manage.py live_push_prune"}
        found.append(Trouble(words.Badge(_("the log is not pruned"), "alert", "warn"), sentence % told))
    return found


def conflicts_in_words(count: int) -> str:
    """How many ids of other members an endpoint returned."""
    said = ngettext("%(count)s ID conflict in 7 days", "%(count)s ID conflicts in 7 days", count)
    return said % {"count": words.number(count)}


def in_a_sentence(
    rows: list[dict[str, Any]], total: Share, waiting: Mapping[int, figures.Waiting], now: datetime
) -> str:
    """The answer for who has five seconds."""
    well = sum(row["badge"].tone == "ok" for row in rows)
    backlog = sum(item.deliveries for item in waiting.values())
    sentence = ngettext(
        "%(well)s of %(count)s endpoint is well.", "%(well)s of %(count)s endpoints are well.", len(rows)
    ) % {"well": words.number(well), "count": words.number(len(rows))}
    if total.percent is not None:
        accepted = ngettext("Accepted: %(share)s attempt.", "Accepted: %(share)s attempts.", total.attempts)
        sentence += " " + accepted % {"share": words.share_in_words(total)}
    waits = ngettext("%(count)s delivery waits.", "%(count)s deliveries wait.", backlog)
    sentence += " " + waits % {"count": words.number(backlog)}
    if (oldest := min(filter(None, (item.oldest_due_at for item in waiting.values())), default=None)) is not None:
        sentence += " " + _("Oldest due: %(moment)s.") % {"moment": words.clock_time(oldest, now)}
    return sentence
