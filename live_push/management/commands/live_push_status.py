"""Say how the pushes are doing."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder
from django.db import router

from live_push.models import Delivery
from live_push.status import EndpointStatus, Status, status

HEADINGS = ("ENDPOINT", "STATE", "CONFIRMED", "BEHIND", "OLDEST", "NEVER SENT", "PENDING", "DUE", "FAILED 24 H")


class Command(BaseCommand):
    help = (
        "Say how the pushes are doing: what waits and since when, who works on it, and for each endpoint how many "
        "profiles it has confirmed in their latest state, how many it is behind with (and how old the oldest of those "
        "states is) and how many were never sent. "
        "Exit code 0: well; 1: work is due, and no worker was seen within a minute."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the figures as one JSON object, for monitoring.")

    def handle(self, **options: Any) -> None:
        found = status(using=router.db_for_write(Delivery))
        self.stdout.write(_as_json(found) if options["json"] else "\n".join(_as_text(found)))
        if not found.is_healthy:
            raise SystemExit(1)


def _as_json(found: Status) -> str:
    figures = {
        "at": found.at,
        "healthy": found.is_healthy,
        "due": found.due,
        "oldest_due_at": found.oldest_due_at,
        "pending": sum(endpoint.pending for endpoint in found.endpoints),
        "sending": sum(endpoint.sending for endpoint in found.endpoints),
        "failed_24h": sum(endpoint.failed_24h for endpoint in found.endpoints),
        "worker_seen": found.worker_seen,
        "workers": [asdict(worker) for worker in found.workers],
        "endpoints": [_flat(endpoint) for endpoint in found.endpoints],
    }
    return json.dumps(figures, cls=DjangoJSONEncoder)


def _flat(endpoint: EndpointStatus) -> dict[str, Any]:
    figures = asdict(endpoint)
    convergence = figures.pop("convergence")
    return figures | {key: convergence[key] for key in ("confirmed", "behind", "behind_since", "never_sent")}


def _as_text(found: Status) -> Iterator[str]:
    pending = sum(endpoint.pending for endpoint in found.endpoints)
    sending = sum(endpoint.sending for endpoint in found.endpoints)
    oldest = f", the oldest for {_age(found.oldest_due_at, found.at)}" if found.oldest_due_at else ""
    yield f"Backlog: {pending:,} pending, {sending:,} being sent; {found.due:,} could be sent now{oldest}."
    yield f"Failed in the last 24 hours: {sum(endpoint.failed_24h for endpoint in found.endpoints):,}."
    for worker in found.workers:
        yield f"Worker {worker.name} ({worker.engine}): seen {_age(worker.seen_at, found.at)} ago."
    if not found.workers:
        yield "No worker was seen."
    if not found.is_healthy:
        yield "Work is due and nobody does it: start `manage.py live_push_worker`, or the engine that you chose."
    yield ""
    if found.endpoints:
        yield from _table([HEADINGS, *(_row(endpoint, found.at) for endpoint in found.endpoints)])
    else:
        yield "There is no endpoint yet: add one in the admin."


def _row(endpoint: EndpointStatus, now: datetime) -> Sequence[str]:
    figure = endpoint.convergence
    counts = (figure.never_sent, endpoint.pending, endpoint.due, endpoint.failed_24h)
    oldest = _age(figure.behind_since, now) if figure.behind_since else "-"
    return (
        endpoint.name,
        _state(endpoint, now),
        f"{figure.confirmed:,}",
        f"{figure.behind:,}",
        oldest,
        *(f"{count:,}" for count in counts),
    )


def _state(endpoint: EndpointStatus, now: datetime) -> str:
    if endpoint.rests_until is not None:
        why = "asked to" if endpoint.breaker == "closed" else f"breaker {endpoint.breaker.replace('_', '-')}"
        return f"resting for {_age(now, endpoint.rests_until)} ({why})"
    return endpoint.state.replace("_", " ")


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        # Words to the left, figures to the right.
        words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield "  ".join(words + figures)


def _age(earlier: datetime, later: datetime) -> str:
    seconds = max(0, round((later - earlier).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
