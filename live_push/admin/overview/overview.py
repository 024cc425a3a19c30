"""The overview: how many pushes are accepted, which endpoints fail, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import router
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from live_push.admin.shared import formatting
from live_push.admin.shared.page import Page
from live_push.admin.shared.svg import Column, columns
from live_push.figures import pages
from live_push.figures.pages import Share
from live_push.models import ClientEndpoint, EndpointHour
from live_push.models.clock import db_now
from live_push.models.hours import HOUR, EndpointHourQuerySet
from live_push.rules.result import ErrorCode

from .endpoint_table import DEFAULT, endpoint_rows, headings, sort

OVERVIEW_PERIODS: Final = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}


@dataclass(frozen=True)
class Hour:
    """The attempts of one hour, over all shown endpoints."""

    began: datetime
    share: Share


class OverviewPage(Page):
    """Shows all figures of one period. It belongs to the endpoints' admin, because it compares endpoints."""

    name = "overview"
    pattern = "overview/"
    template = "overview.html"

    @property
    def url_name(self) -> str:
        return "live_push_overview"

    def view(self, request: HttpRequest) -> HttpResponse:
        self.check(request)
        now = db_now(router.db_for_read(ClientEndpoint))
        period = request.GET.get("period", "24h")
        period = period if period in OVERVIEW_PERIODS else "24h"
        since = now - OVERVIEW_PERIODS[period]
        endpoints = list(ClientEndpoint.objects.select_related("health"))
        only = next((endpoint for endpoint in endpoints if str(endpoint.pk) == request.GET.get("endpoint")), None)
        chosen = endpoints if only is None else [only]
        statistics = EndpointHour.objects.since(since).filter(endpoint__in=[endpoint.pk for endpoint in chosen])
        hours = per_hour(statistics, since, now)
        total = Share(sum(hour.share.accepted for hour in hours), sum(hour.share.attempts for hour in hours))
        waiting = pages.waiting([endpoint.pk for endpoint in chosen])
        rows = endpoint_rows(chosen, statistics, waiting, now)
        order = request.GET.get("sort", DEFAULT)
        return self.render(
            request,
            title=_("Overview") if only is None else _("Overview of “%(name)s”") % {"name": only.name},
            original=only,
            endpoints=sorted(endpoints, key=lambda endpoint: endpoint.name),
            sentence=summary(rows, total, waiting, now),
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
            workers=[(worker, formatting.moment(worker.seen_at, now)) for worker in pages.workers(now)],
        )


def per_hour(statistics: QuerySet[EndpointHour], since: datetime, now: datetime) -> list[Hour]:
    """Return every hour of a period, also those without attempts, oldest first."""
    shares = pages.shares(statistics, by="hour")
    last = now.replace(minute=0, second=0, microsecond=0)
    began = [last - place * HOUR for place in range(int((now - since) / HOUR) + 1)]
    return [Hour(hour, shares.get(hour, Share())) for hour in sorted(began) if hour > since - HOUR]


def chart(hours: list[Hour]) -> Any:
    """Return the chart of attempts by hour."""
    most = max((hour.share.attempts for hour in hours), default=0)
    described = _("attempts by hour, at most %(most)s; the table below has the numbers") % {
        "most": formatting.number(most)
    }
    every = 24 if len(hours) > 48 else 6
    data = [
        # The last columns have no label, because it would not fit.
        Column(
            hour.share.accepted,
            hour.share.failed,
            label(hour.began) if place % every == 0 and place < len(hours) - 3 else "",
        )
        for place, hour in enumerate(hours)
    ]
    return columns(data, title=_("Throughput"), description=described)


def label(moment: datetime) -> str:
    """Return the label of an hour under the chart."""
    local = timezone.localtime(moment)
    return f"{date_format(local, 'D')} {date_format(local, 'TIME_FORMAT')}"


def causes(statistics: EndpointHourQuerySet) -> list[dict[str, Any]]:
    """Return the error codes of failed attempts, the most frequent first."""
    rows = statistics.failed().order_by()
    counted = rows.values_list("error_code").annotate(total=Sum("attempts")).order_by("-total", "error_code")
    return [{"code": code, "count": count, "explanation": formatting.explained(code)} for code, count in counted]


@dataclass(frozen=True)
class Trouble:
    """One line of the list of problems. Without an endpoint it concerns all of them."""

    badge: formatting.Badge
    sentence: Any
    endpoint: ClientEndpoint | None = None
    cause: str = ""
    """The error code that finds the deliveries of the problem; empty if there are none to show."""


def trouble(rows: list[dict[str, Any]], now: datetime) -> list[Trouble]:
    """Return what needs the operator's attention, each with what to do."""
    problems = [
        Trouble(row["badge"], f"{row['badge'].detail} {row['badge'].remedy}".strip(), row["endpoint"])
        for row in rows
        if row["badge"].tone in ("bad", "warn")
    ]
    conflicts = pages.conflicts([row["endpoint"].pk for row in rows], now)
    for row in rows:
        if count := conflicts.get(row["endpoint"].pk, 0):
            badge = formatting.Badge(conflicts_in_words(count), "alert", "warn")
            sentence = formatting.explained(ErrorCode.ID_CONFLICT)
            problems.append(Trouble(badge, sentence, row["endpoint"], ErrorCode.ID_CONFLICT.value))
    if (oldest := pages.unpruned(now)) is not None:
        sentence = _(
            "Deliveries that ended on %(moment)s are past their retention. Run this command daily: %(command)s"
        )
        values = {"moment": formatting.clock_time(oldest, now), "command": "python manage.py live_push_prune"}
        problems.append(Trouble(formatting.Badge(_("the log is not pruned"), "alert", "warn"), sentence % values))
    return problems


def conflicts_in_words(count: int) -> str:
    """Return the number of ID conflicts, answers with the id of another member, as text."""
    sentence = ngettext("%(count)s ID conflict in 7 days", "%(count)s ID conflicts in 7 days", count)
    return sentence % {"count": formatting.number(count)}


def summary(
    rows: list[dict[str, Any]], total: Share, waiting: Mapping[int, pages.WaitingFigures], now: datetime
) -> str:
    """Return the summary at the top of the page."""
    healthy = sum(row["badge"].tone == "ok" for row in rows)
    backlog = sum(item.deliveries for item in waiting.values())
    sentence = ngettext(
        "%(well)s of %(count)s endpoint is well.", "%(well)s of %(count)s endpoints are well.", len(rows)
    ) % {"well": formatting.number(healthy), "count": formatting.number(len(rows))}
    if total.percent is not None:
        accepted = ngettext("Accepted: %(share)s attempt.", "Accepted: %(share)s attempts.", total.attempts)
        sentence += " " + accepted % {"share": formatting.share_in_words(total)}
    waits = ngettext("%(count)s delivery waits.", "%(count)s deliveries wait.", backlog)
    sentence += " " + waits % {"count": formatting.number(backlog)}
    if (oldest := min(filter(None, (item.oldest_due_at for item in waiting.values())), default=None)) is not None:
        sentence += " " + _("Oldest due: %(moment)s.") % {"moment": formatting.clock_time(oldest, now)}
    return sentence
