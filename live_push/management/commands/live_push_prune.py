"""Delete old deliveries from the log."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from live_push.conf import MOST_DAYS
from live_push.engines.session import worker_session
from live_push.management.arguments import WRONG_CALL
from live_push.management.progress import Progress
from live_push.models import Delivery, DeliveryStatus, EndpointHour, WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.outbox import prune

HEARTBEATS_KEPT = timedelta(days=1)
"""For how long the row of a worker is kept after its last heartbeat."""


@dataclass
class PruneSummary:
    """The numbers of deleted rows; in a dry run, of rows to delete. ``--json`` prints it.

    In a dry run ``pushes`` and ``bodies`` are ``None``, because they depend on the deliveries that are deleted first.
    """

    dry_run: bool
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    pushes: int | None = 0
    bodies: int | None = 0
    heartbeats: int = 0
    hours: int = 0


class Command(BaseCommand):
    help = (
        "Delete deliveries that ended long ago, with their attempts: succeeded ones after RETENTION_SUCCEEDED_DAYS, "
        "failed and cancelled ones after RETENTION_FAILED_DAYS. Hourly figures are deleted after "
        "RETENTION_FAILED_DAYS. Bodies and answers can be emptied earlier: RETENTION_SUCCEEDED_BODIES_DAYS, "
        "RETENTION_FAILED_BODIES_DAYS. Deliveries that have not ended and what each endpoint has confirmed are kept. "
        "Run it daily from cron. It uses small transactions, does not disturb the workers, and can be stopped and "
        "started again at any time. Exit code 0: all done; 2: a wrong call."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bodies-after",
            type=int,
            metavar="DAYS",
            help="Empty the bodies and answers of deliveries that ended more than DAYS days ago, instead of after "
            "RETENTION_SUCCEEDED_BODIES_DAYS and RETENTION_FAILED_BODIES_DAYS. The rows are kept. A delivery without "
            "a body can't be redelivered; the profile can be resent.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count what would be deleted; delete nothing.")
        parser.add_argument("--json", action="store_true", help="Print the summary as one JSON object.")

    def handle(self, *, bodies_after: int | None, dry_run: bool, verbosity: int, **options: Any) -> None:
        if bodies_after is not None and not 0 <= bodies_after <= MOST_DAYS:
            raise CommandError(
                f"--bodies-after is {bodies_after}; it must be from 0 to {MOST_DAYS} days.", returncode=WRONG_CALL
            )
        using = router.db_for_write(Delivery)
        now = db_now(using)
        ends = prune.rows_kept_since(now)
        counts = {status: prune.ended_before(end, status, using=using).count() for status, end in ends.items()}
        hours = EndpointHour.objects.using(using).filter(hour__lt=ends[DeliveryStatus.FAILED])
        heartbeats = WorkerHeartbeat.objects.using(using).filter(seen_at__lt=now - HEARTBEATS_KEPT)
        summary = PruneSummary(dry_run=dry_run)
        if dry_run:
            summary = PruneSummary(
                dry_run=True,
                succeeded=counts[DeliveryStatus.SUCCEEDED],
                failed=counts[DeliveryStatus.FAILED],
                cancelled=counts[DeliveryStatus.CANCELLED],
                pushes=None,
                bodies=None,
                heartbeats=heartbeats.count(),
                hours=hours.count(),
            )
        else:
            # Like a worker's, its transactions skip rows that others hold.
            with worker_session(using):
                with Progress(sum(counts.values()), "deliveries", stream=self.stderr, verbosity=verbosity) as progress:
                    for status, end in ends.items():
                        self._delete(end, status, summary, progress, using)
                bodies = prune.drop_bodies(prune.bodies_kept_since(now, days=bodies_after), using=using)
                summary.bodies = sum(bodies)
                prune.delete_orphans(using=using)
            summary.heartbeats, _ = heartbeats.delete()
            summary.hours, _ = hours.delete()
        self._report(summary, as_json=options["json"], verbosity=verbosity)

    def _delete(
        self, end: datetime, status: DeliveryStatus, summary: PruneSummary, progress: Progress, using: str
    ) -> None:
        for deleted in prune.delete_ended(end, status, using=using):
            setattr(summary, status.value, getattr(summary, status.value) + deleted.deliveries)
            summary.pushes = (summary.pushes or 0) + deleted.pushes
            progress.advance(deleted.deliveries)

    def _report(self, summary: PruneSummary, *, as_json: bool, verbosity: int) -> None:
        if as_json:
            self.stdout.write(json.dumps(asdict(summary)))
        elif summary.dry_run:
            self.stdout.write(
                f"{summary.succeeded:,} succeeded, {summary.failed:,} failed and {summary.cancelled:,} cancelled "
                "deliveries would be deleted (dry run, nothing deleted)."
            )
        elif verbosity:
            self.stdout.write(
                f"Deleted {summary.succeeded:,} succeeded, {summary.failed:,} failed and {summary.cancelled:,} "
                f"cancelled deliveries, with {summary.pushes:,} pushes; emptied {summary.bodies:,} bodies."
            )
