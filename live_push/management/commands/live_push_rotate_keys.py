"""Encrypt stored values again, with the newest key."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router

from live_push.housekeeping import key_rotation
from live_push.housekeeping.key_rotation import RotationCounts
from live_push.management.progress import Progress
from live_push.models import ClientEndpoint


class Command(BaseCommand):
    help = (
        "Encrypt stored credentials with the newest key, and payloads and answers if ENCRYPT_PAYLOADS is on. To rotate "
        "keys: put the new key before the old ones in LIVE_PUSH['SECRET_KEYS'] (without this setting, in SECRET_KEY "
        "and SECRET_KEY_FALLBACKS), restart web processes and workers, run this command, and remove the old key. The "
        "command can be stopped and started again at any time. Exit code 0: all values are under the newest key; "
        "1: some are not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--check", action="store_true", help="Change nothing; exit code 1 if a value is under an older key."
        )
        mode.add_argument("--dry-run", action="store_true", help="Count what would be encrypted again; change nothing.")
        parser.add_argument("--json", action="store_true", help="Print the counts as one JSON object.")

    def handle(self, *, check: bool, dry_run: bool, verbosity: int, **options: Any) -> None:
        using = router.db_for_write(ClientEndpoint)
        columns = key_rotation.encrypted_columns()
        counts = {str(column): RotationCounts() for column in columns}
        total = sum(key_rotation.stored_values(column, using=using).count() for column in columns)
        with Progress(total, "values", stream=self.stderr, verbosity=verbosity) as progress:
            for column in columns:
                for batch in key_rotation.rotate_column(column, using=using, dry_run=check or dry_run):
                    _add(batch, counts[str(column)])
                    progress.advance(batch.current + batch.older + batch.unreadable)
        changed = not (check or dry_run)
        self._report(counts, changed=changed, as_json=options["json"], verbosity=verbosity)
        if any(count.unreadable or (check and count.older) for count in counts.values()):
            raise SystemExit(1)

    def _report(self, counts: dict[str, RotationCounts], *, changed: bool, as_json: bool, verbosity: int) -> None:
        if as_json:
            columns = {name: vars(count) for name, count in counts.items()}
            self.stdout.write(json.dumps({"changed": changed, "columns": columns}))
            return
        outcome = "were encrypted with the newest key" if changed else "are under an older key, or not encrypted"
        for name, count in counts.items():
            if count.unreadable:
                self.stderr.write(
                    f"{name}: {count.unreadable:,} can't be decrypted with any configured key. Put the missing key "
                    "back, or enter the credentials again and resend the profiles."
                )
            if verbosity and count.older:
                self.stdout.write(f"{name}: {count.older:,} {outcome}.")
        if verbosity:
            current = sum(count.current for count in counts.values())
            self.stdout.write(f"{current:,} values were already under the newest key.")


def _add(batch: RotationCounts, total: RotationCounts) -> None:
    total.current += batch.current
    total.older += batch.older
    total.unreadable += batch.unreadable
