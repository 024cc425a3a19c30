"""Show the state of the deliveries, the workers and the endpoints."""

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

from live_push.figures.status import EndpointStatus, Status, status
from live_push.models import Delivery

CONVERGENCE = ("confirmed", "behind", "behind_since", "never_sent", "counted_at", "is_outdated")
"""The keys of the convergence in the JSON. All are null if it is not known."""

UNKNOWN = "-"

HEADINGS = ("ENDPOINT", "STATE", "CONFIRMED", "BEHIND", "OLDEST", "NEVER SENT", "PENDING", "DUE", "FAILED 24 H")


class Command(BaseCommand):
    help = (
        "Show the state of the deliveries: how many wait and since when, which workers were seen, and for each "
        "endpoint how many profiles it has confirmed in their current state, for how many it is behind (and the age "
        "of the oldest such state), and how many were never sent. With more than 2,000 profiles, these three are what "
        "a worker has counted, with their age; if none has, they are counted now. "
        "Exit code 0: all is well; 1: deliveries are due, and no worker was seen within a minute."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the figures as one JSON object, for monitoring.")
        counting = parser.add_mutually_exclusive_group()
        counting.add_argument(
            "--quick",
            action="store_const",
            dest="counting",
            const="never",
            help="Never count all profiles. What no worker has counted yet is left out. For monitoring.",
        )
        counting.add_argument(
            "--fresh",
            action="store_const",
            dest="counting",
            const="always",
            help="Count all profiles now. With a million profiles this takes seconds.",
        )
        parser.set_defaults(counting="if_unknown")

    def handle(self, **options: Any) -> None:
        current = status(using=router.db_for_write(Delivery), counting=options["counting"])
        self.stdout.write(_as_json(current) if options["json"] else "\n".join(_as_text(current)))
        if not current.is_healthy:
            raise SystemExit(1)


def _as_json(current: Status) -> str:
    figures = {
        "at": current.at,
        "healthy": current.is_healthy,
        "due": current.due,
        "oldest_due_at": current.oldest_due_at,
        "pending": sum(endpoint.pending for endpoint in current.endpoints),
        "sending": sum(endpoint.sending for endpoint in current.endpoints),
        "failed_24h": sum(endpoint.failed_24h for endpoint in current.endpoints),
        "left_out_24h": sum(endpoint.left_out_24h for endpoint in current.endpoints),
        "worker_seen": current.worker_seen,
        "convergence_age_seconds": None if (age := current.convergence_age) is None else age.total_seconds(),
        "workers": [asdict(worker) for worker in current.workers],
        "endpoints": [_flat(endpoint, current.at) for endpoint in current.endpoints],
    }
    return json.dumps(figures, cls=DjangoJSONEncoder)


def _flat(endpoint: EndpointStatus, now: datetime) -> dict[str, Any]:
    figures = asdict(endpoint)
    convergence = figures.pop("convergence") or {}
    if convergence and convergence["counted_at"] is None:
        convergence["counted_at"] = now
    return figures | {key: convergence.get(key) for key in CONVERGENCE}


def _as_text(current: Status) -> Iterator[str]:
    pending = sum(endpoint.pending for endpoint in current.endpoints)
    sending = sum(endpoint.sending for endpoint in current.endpoints)
    oldest = f", the oldest for {_age(current.oldest_due_at, current.at)}" if current.oldest_due_at else ""
    yield f"Backlog: {pending:,} pending, {sending:,} being sent; {current.due:,} could be sent now{oldest}."
    yield f"Failed in the last 24 hours: {sum(endpoint.failed_24h for endpoint in current.endpoints):,}."
    if left_out := sum(endpoint.left_out_24h for endpoint in current.endpoints):
        yield f"Not sent in the last 24 hours, because they held nothing new: {left_out:,}."
    for worker in current.workers:
        yield f"Worker {worker.name} ({worker.engine}): seen {_age(worker.seen_at, current.at)} ago."
    if not current.workers:
        yield "No worker was seen."
    if not current.is_healthy:
        yield "Work is due and no worker does it. Start `manage.py live_push_worker`, or the engine that you chose."
    yield ""
    if current.endpoints:
        yield from _table([HEADINGS, *(_row(endpoint, current.at) for endpoint in current.endpoints)])
        yield from _notes(current)
    else:
        yield "There is no endpoint yet: add one in the admin."


def _row(endpoint: EndpointStatus, now: datetime) -> Sequence[str]:
    figure = endpoint.convergence
    oldest = _age(figure.behind_since, now) if figure and figure.behind_since else UNKNOWN
    return (
        endpoint.name,
        _state(endpoint, now),
        f"{figure.confirmed:,}" if figure else UNKNOWN,
        f"{figure.behind:,}" if figure else UNKNOWN,
        oldest,
        f"{figure.never_sent:,}" if figure else UNKNOWN,
        *(f"{count:,}" for count in (endpoint.pending, endpoint.due, endpoint.failed_24h)),
    )


def _notes(current: Status) -> Iterator[str]:
    """Yield how old the convergence is, if it was not counted just now."""
    if (age := current.convergence_age) is None:
        yield ""
        yield "No worker has counted all profiles yet. Leave --quick out to count them now."
    elif age:
        yield ""
        counted = f"CONFIRMED, BEHIND and NEVER SENT were counted {_age(current.at - age, current.at)} ago"
        yield f"{counted}. Count them now with --fresh."
    figures = [endpoint.convergence for endpoint in current.endpoints if endpoint.convergence is not None]
    if outdated := [figure.endpoint for figure in figures if figure.is_outdated]:
        yield f"Changed since then: {', '.join(outdated)}."


def _state(endpoint: EndpointStatus, now: datetime) -> str:
    if endpoint.rests_until is not None:
        reason = "asked to" if endpoint.breaker == "closed" else f"breaker {endpoint.breaker.replace('_', '-')}"
        return f"resting for {_age(now, endpoint.rests_until)} ({reason})"
    return endpoint.state.replace("_", " ")


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        # Texts are aligned left, numbers right.
        texts = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield "  ".join(texts + figures)


def _age(earlier: datetime, later: datetime) -> str:
    seconds = max(0, round((later - earlier).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
