"""Send failed or cancelled deliveries again, with the same event and the same snapshot."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from live_push import api
from live_push.management.arguments import INTERRUPTED, WRONG_CALL, endpoints_named, parse_moment, row_id
from live_push.management.progress import Progress
from live_push.models import Delivery, DeliveryStatus
from live_push.outbox import reopen
from live_push.rules.batched import batched

DELIVERIES_PER_STEP = 500
"""How many deliveries are reopened between two updates of the progress."""


class Command(BaseCommand):
    help = (
        "Send failed or cancelled deliveries again, with the same event id and the same snapshot. A delivery is "
        "skipped if the endpoint has accepted a newer state of the profile; use resend_profile then. Exit code 0: all "
        "done; 1: some were skipped; 2: a wrong call; 130: interrupted, the output says how to continue."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("ids", nargs="*", type=row_id, metavar="ID", help="Delivery ids.")
        add("--endpoint", action="append", default=[], help="An endpoint's name or id; may be repeated.")
        add("--status", choices=["failed", "cancelled"], action="append", help="Default: failed.")
        add("--since", help="Only deliveries that ended at or after this time, such as 2026-11-20T00:00Z.")
        add("--until", help="Only deliveries that ended before this time.")
        add(
            "--dry-run",
            action="store_true",
            help="Say how many would be redelivered, and why others would be skipped; send nothing.",
        )
        add("--json", action="store_true", help="Print the summary as one JSON object.")

    def handle(self, **options: Any) -> None:
        filtered = options["endpoint"] or options["since"] or options["until"]
        if not (options["ids"] or filtered):
            raise CommandError(
                "Nothing selected. Name deliveries by id, --endpoint, --since or --until.", returncode=WRONG_CALL
            )
        if options["ids"] and (filtered or options["status"]):
            raise CommandError(
                "Ids can't be combined with other options that select deliveries. Leave one out.", returncode=WRONG_CALL
            )
        ids = self._selected(options)
        reopened = 0
        skipped: list[api.Skipped] = []
        plan = partial(reopen.plan, using=router.db_for_write(Delivery))
        redeliver = plan if options["dry_run"] else api.redeliver
        with Progress(len(ids), "deliveries", stream=self.stderr, verbosity=options["verbosity"]) as progress:
            interrupted = False
            try:
                for batch in batched(ids, DELIVERIES_PER_STEP):
                    reopened_ids, skipped_deliveries = redeliver(batch)
                    reopened += len(reopened_ids)
                    skipped += skipped_deliveries
                    progress.advance(len(batch))
            except KeyboardInterrupt:
                interrupted = True
        self._report(len(ids), reopened, skipped, options)
        if interrupted:
            self.stderr.write(
                "Interrupted. To continue, run the same command again; deliveries that already wait are not changed."
            )
            raise SystemExit(INTERRUPTED)
        if skipped and not options["dry_run"]:
            raise SystemExit(1)

    def _selected(self, options: dict[str, Any]) -> list[int]:
        if options["ids"]:
            return sorted(set(options["ids"]))
        using = router.db_for_write(Delivery)
        deliveries = Delivery.objects.using(using).filter(status__in=options["status"] or [DeliveryStatus.FAILED])
        if options["endpoint"]:
            deliveries = deliveries.filter(endpoint__in=endpoints_named(options["endpoint"], using=using))
        if options["since"]:
            deliveries = deliveries.filter(ended_at__gte=parse_moment("--since", options["since"]))
        if options["until"]:
            deliveries = deliveries.filter(ended_at__lt=parse_moment("--until", options["until"]))
        return list(deliveries.order_by("pk").values_list("pk", flat=True))

    def _report(self, selected: int, reopened: int, skipped: list[api.Skipped], options: dict[str, Any]) -> None:
        if options["json"]:
            left_out = [{"delivery": item.delivery_id, "why": item.why} for item in skipped]
            redelivered = 0 if options["dry_run"] else reopened
            summary = {
                "dry_run": options["dry_run"],
                "found": selected,
                "redelivered": redelivered,
                "skipped": left_out,
            }
            self.stdout.write(json.dumps(summary))
            return
        for item in skipped:
            was = "would be" if options["dry_run"] else "was"
            self.stderr.write(f"Delivery {item.delivery_id} {was} skipped: {item.why}.")
        if options["dry_run"]:
            self.stdout.write(f"{reopened:,} of {selected:,} deliveries would be redelivered (dry run, nothing sent).")
        elif options["verbosity"]:
            self.stdout.write(f"{reopened:,} of {selected:,} deliveries are sent again.")
