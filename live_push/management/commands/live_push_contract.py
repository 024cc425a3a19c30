"""Print the contract, for a client to build against."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from live_push.contract.payload import PayloadOptions
from live_push.contract.schema import body_schema, openapi, sample
from live_push.exceptions import PayloadError

FORMATS = {"json-schema": body_schema, "openapi": openapi, "sample": sample}


class Command(BaseCommand):
    help = (
        "Prints the contract of the body: as JSON Schema, as OpenAPI, or a sample, with an endpoint's payload options."
    )
    # The contract is the same whatever the project around it looks like.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=FORMATS, default="json-schema", help="default: json-schema")
        parser.add_argument("--timeframe-score-alias", action="store_true", help="as with the option of the same name")
        parser.add_argument("--null-levels-as-objects", action="store_true", help="as with the option of the same name")
        parser.add_argument(
            "--mobile-verified-as-date", action="store_true", help="as with the option of the same name"
        )
        parser.add_argument(
            "--withhold",
            action="append",
            default=[],
            metavar="KEY",
            help="a key whose value this endpoint does not get; repeatable",
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
