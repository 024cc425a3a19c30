"""Print the contract for the developers of a client's endpoint."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from live_push.contract.options import PayloadOptions
from live_push.contract.schema import body_schema, openapi, sample
from live_push.exceptions import PayloadError

FORMATS = {"json-schema": body_schema, "openapi": openapi, "sample": sample}


class Command(BaseCommand):
    help = (
        "Print the contract of the body, for the payload options of an endpoint: as JSON Schema, as OpenAPI, or as a "
        "sample."
    )
    # The contract does not depend on the project, so errors of the system checks don't matter here.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=FORMATS, default="json-schema", help="Default: %(default)s.")
        parser.add_argument("--timeframe-score-alias", action="store_true", help="Switch this option on.")
        parser.add_argument("--null-levels-as-objects", action="store_true", help="Switch this option on.")
        parser.add_argument("--mobile-verified-as-date", action="store_true", help="Switch this option on.")
        parser.add_argument(
            "--withhold",
            action="append",
            default=[],
            metavar="KEY",
            help="A top-level key that is withheld from the endpoint: its value is null. May be repeated.",
        )

    def handle(self, **options: Any) -> None:
        try:
            chosen = PayloadOptions(
                timeframe_score_alias=options["timeframe_score_alias"],
                null_levels_as_objects=options["null_levels_as_objects"],
                mobile_verified_as_date=options["mobile_verified_as_date"],
                withheld_fields=tuple(options["withhold"]),
            )
        except PayloadError as refusal:
            raise CommandError(str(refusal), returncode=2) from None
        self.stdout.write(json.dumps(FORMATS[options["format"]](chosen), indent=2))
