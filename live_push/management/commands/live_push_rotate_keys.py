"""Bring everything that is encrypted under the newest key."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router

from live_push import key_rotation
from live_push.key_rotation import Batch
from live_push.management.progress import Progress
from live_push.models import ClientEndpoint


class Command(BaseCommand):
    help = (
        "Encrypt stored credentials, and payloads and answers where ENCRYPT_PAYLOADS is on, with the newest key. Put a "
        "new key before the old ones in LIVE_PUSH['SECRET_KEYS'] (without that setting, SECRET_KEY and "
        "SECRET_KEY_FALLBACKS serve), restart web processes and workers, run this, then remove the old key. It can be "
        "stopped and started again at any time. Exit code 0: all is under the newest key; 1: something is not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--check", action="store_true", help="Change nothing; exit code 1 where something is under an older key."
        )
        mode.add_argument("--dry-run", action="store_true", help="Say what would be done; change nothing.")
        parser.add_argument("--json", action="store_true", help="Print the counts as one JSON object.")

    def handle(self, *, check: bool, dry_run: bool, verbosity: int, **options: Any) -> None:
        using = router.db_for_write(ClientEndpoint)
        columns = key_rotation.columns()
        counts = {str(column): Batch() for column in columns}
        total = sum(key_rotation.stored_values(column, using=using).count() for column in columns)
        with Progress(total, "values", stream=self.stderr, verbosity=verbosity) as progress:
            for column in columns:
                for batch in key_rotation.rotate(column, using=using, dry_run=check or dry_run):
                    _add(batch, counts[str(column)])
                    progress.advance(batch.current + batch.older + batch.unreadable)
        changed = not (check or dry_run)
        self._report(counts, changed=changed, as_json=options["json"], verbosity=verbosity)
        if any(count.unreadable or (check and count.older) for count in counts.values()):
            raise SystemExit(1)

    def _report(self, counts: dict[str, Batch], *, changed: bool, as_json: bool, verbosity: int) -> None:
        if as_json:
            columns = {name: vars(count) for name, count in counts.items()}
            self.stdout.write(json.dumps({"changed": changed, "columns": columns}))
            return
        done = "were brought under the newest key" if changed else "are under an older key, or not encrypted"
        for name, count in counts.items():
            if count.unreadable:
                self.stderr.write(
                    f"{name}: {count.unreadable:,} can't be read with any configured key. Put the missing key back, "
                    "or enter credentials again and resend payloads."
                )
            if verbosity and count.older:
                self.stdout.write(f"{name}: {count.older:,} {done}.")
        if verbosity:
            self.stdout.write(f"{sum(count.current for count in counts.values()):,} values were under it already.")


def _add(batch: Batch, total: Batch) -> None:
    total.current += batch.current
    total.older += batch.older
    total.unreadable += batch.unreadable
