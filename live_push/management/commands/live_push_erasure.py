"""Prove that nothing of a deleted member is left in the delivery log, and tell who was sent what is gone."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router
from django.db.models import Q

from live_push.models import UserProfile
from live_push.outbox import erase
from live_push.outbox.erase import DELETED, Remains


class Command(BaseCommand):
    help = (
        "Prove that nothing of deleted members is left in the delivery log: no bodies, no answers, no captured ids, "
        "nothing that waits to be sent. (Deleting a member erases it in the same transaction. Beyond the reach of this "
        "are backups, server logs, and what clients have received: --profile names the endpoints to tell.) "
        "Exit code 0: nothing is left; 1: something is; 2: a wrong call."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--check", action="store_true", help="Look for anything of any deleted member.")
        whose.add_argument(
            "--profile", type=int, metavar="ID", help="Look for anything of this member, and name who was sent it."
        )
        whose.add_argument("--erase", action="store_true", help="Erase what is left of deleted members, then check.")
        parser.add_argument("--json", action="store_true", help="Print the counts as one JSON object.")

    def handle(self, *, profile: int | None, verbosity: int, **options: Any) -> None:
        using = router.db_for_write(UserProfile)
        if options["erase"]:
            erase.erase_deleted(using=using)
        exists = profile is not None and UserProfile._base_manager.using(using).filter(pk=profile).exists()
        # What was emptied no longer tells whose it was, so anything left of anybody may be this member's.
        left = erase.remains(DELETED if profile is None else DELETED | Q(profile=profile), using=using)
        sent_to = None if profile is None else erase.recipients(profile, using=using)
        self._report(left, profile, sent_to, exists=exists, as_json=options["json"], verbosity=verbosity)
        if left or exists:
            raise SystemExit(1)

    def _report(
        self,
        left: Remains,
        profile: int | None,
        sent_to: list[str] | None,
        *,
        exists: bool,
        as_json: bool,
        verbosity: int,
    ) -> None:
        if as_json:
            told = {} if sent_to is None else {"sent_to": sent_to}
            self.stdout.write(json.dumps({"profile": profile, "exists": exists, **vars(left), **told}))
            return
        if sent_to and verbosity:
            self.stdout.write(
                f"Pushes of this member went to {', '.join(sent_to)}: who received them may have to be told."
            )
        if exists:
            self.stderr.write(f"Profile {profile} exists: delete it, and what follows goes with it.")
        if left:
            self.stdout.write(
                f"Left: {left.bodies:,} bodies, {left.answers:,} answers, {left.unsent:,} deliveries not over, "
                f"{left.confirmations:,} confirmations."
            )
            if not exists:
                self.stderr.write("Run live_push_erasure --erase, and find out what deletes members past Django.")
        elif verbosity:
            self.stdout.write("Nothing of deleted members is left in the delivery log.")
