"""Check that no data of deleted members is left in the delivery log, and name the endpoints that received data."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router
from django.db.models import Q

from live_push.models import UserProfile
from live_push.outbox import erase, erasure_report
from live_push.outbox.erase import DELETED
from live_push.outbox.erasure_report import RemainingData


class Command(BaseCommand):
    help = (
        "Check that no data of deleted members is left in the delivery log: no bodies, no answers, no captured ids, "
        "and no delivery that may still be sent. Deleting a member erases its data in the same transaction. Backups, "
        "server logs and the systems of the clients are not covered; --profile names the endpoints that received data "
        "of a member. Exit code 0: nothing is left; 1: something is left; 2: a wrong call."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group(required=True)
        mode.add_argument("--check", action="store_true", help="Look for data of all deleted members.")
        mode.add_argument(
            "--profile",
            type=int,
            metavar="ID",
            help="Look for data of this member, and name the endpoints that received data of the member.",
        )
        mode.add_argument("--erase", action="store_true", help="Erase what is left of deleted members, then check.")
        parser.add_argument("--json", action="store_true", help="Print the counts as one JSON object.")

    def handle(self, *, profile: int | None, verbosity: int, **options: Any) -> None:
        using = router.db_for_write(UserProfile)
        if options["erase"]:
            erase.erase_deleted(using=using)
        exists = profile is not None and UserProfile._base_manager.using(using).filter(pk=profile).exists()
        # Rows of deleted members do not say to whom they belonged, so all of them may be this member's.
        remaining = erasure_report.remaining_data(
            DELETED if profile is None else DELETED | Q(profile=profile), using=using
        )
        sent_to = None if profile is None else erasure_report.recipients(profile, using=using)
        self._report(remaining, profile, sent_to, exists=exists, as_json=options["json"], verbosity=verbosity)
        if remaining or exists:
            raise SystemExit(1)

    def _report(
        self,
        remaining: RemainingData,
        profile: int | None,
        sent_to: list[str] | None,
        *,
        exists: bool,
        as_json: bool,
        verbosity: int,
    ) -> None:
        if as_json:
            recipients = {} if sent_to is None else {"sent_to": sent_to}
            self.stdout.write(json.dumps({"profile": profile, "exists": exists, **vars(remaining), **recipients}))
            return
        if sent_to and verbosity:
            self.stdout.write(
                f"Data of this member was sent to {', '.join(sent_to)}. Ask these clients to erase it, too."
            )
        if exists:
            self.stderr.write(f"Profile {profile} exists. Delete it; this erases its data from the log.")
        if remaining:
            self.stdout.write(
                f"Left: {remaining.bodies:,} bodies, {remaining.answers:,} answers, {remaining.unsent:,} deliveries "
                f"that have not ended, {remaining.confirmations:,} confirmations."
            )
            if not exists:
                self.stderr.write("Run live_push_erasure --erase, and find out what deletes members without Django.")
        elif verbosity:
            self.stdout.write("No data of deleted members is left in the delivery log.")
