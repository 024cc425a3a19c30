"""Send the current state of profiles again, as new events."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router, transaction
from django.db.models import Q

from live_push import engines
from live_push.management.arguments import INTERRUPTED, WRONG_CALL, endpoints_named, parse_moment, row_id
from live_push.management.progress import Progress
from live_push.models import ClientEndpoint, UserProfile
from live_push.models.clock import db_now
from live_push.models.profiles import UserProfileQuerySet
from live_push.models.transactions import after_commit
from live_push.outbox import resend
from live_push.outbox.behind import profiles_behind

SNAPSHOTS_PER_STEP = 1000
"""With ``--stale``: how many profiles are compared with the accepted states at a time."""

MIN_RATE = 0.001
"""The lowest rate, in profiles per second: one profile in about 17 minutes."""


@dataclass
class ResendSummary:
    """The result of a run. ``--json`` prints it."""

    dry_run: bool
    endpoints: list[str]
    profiles: int = 0
    deliveries: int = 0
    last_profile: int | None = None
    not_found: list[str] = field(default_factory=list)
    inactive_endpoints: list[str] = field(default_factory=list)
    outside_audience: list[int] = field(default_factory=list)
    interrupted: bool = False


class Command(BaseCommand):
    help = (
        "Send the current state of profiles to the clients again, as a new event for each profile. The state is read "
        "when the event is first sent. (To send the same event again, use redeliver.) Exit code 0: all done; 1: a part "
        "could not be done, the rest was; 2: a wrong call; 130: interrupted, the output says how to continue."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("ids", nargs="*", type=row_id, metavar="ID", help="Profile ids.")
        add("--email", action="append", default=[], help="An exact e-mail address; may be repeated.")
        add("--third-party-id", action="append", default=[], help="A third-party id; may be repeated.")
        add("--all", action="store_true", help="Every profile. Needs --yes, or your answer on a terminal.")
        add(
            "--stale",
            action="store_true",
            help="Only profiles for which an endpoint is behind: it has not accepted the current state.",
        )
        add(
            "--verify",
            action="store_true",
            help="With --stale: also compare contents, to find changes by raw SQL, loaddata or a restored backup.",
        )
        add("--since", help="Only profiles updated at or after this time, such as 2026-11-20T00:00Z.")
        add(
            "--endpoint",
            action="append",
            default=[],
            help="An endpoint's name or id; may be repeated. Default: all active endpoints.",
        )
        add("--rate", type=float, help="Spread the deliveries over time: this number of profiles per second.")
        add(
            "--after",
            type=row_id,
            default=0,
            metavar="PK",
            help="Continue after the profile with this id, where an earlier run stopped.",
        )
        add("--dry-run", action="store_true", help="Count what would be sent; send nothing.")
        add("--yes", action="store_true", help="Do not ask before --all.")
        add("--json", action="store_true", help="Print the summary as one JSON object.")

    def handle(self, **options: Any) -> None:
        self._refuse_wrong_calls(options)
        using = router.db_for_write(UserProfile)
        summary = ResendSummary(dry_run=options["dry_run"], endpoints=[])
        endpoints = self._endpoints(options["endpoint"], summary, using)
        profiles = self._profiles(options, summary, using)
        if options["ids"] or options["email"] or options["third_party_id"]:
            held = set[int]().union(*(_ids(profiles.in_audience_of(endpoint.pk)) for endpoint in endpoints))
            summary.outside_audience = sorted(_ids(profiles) - held) if endpoints else []
        total = profiles.count()
        if options["all"] and not (options["yes"] or options["dry_run"]):
            self._ask(total)
        with Progress(total, "profiles", stream=self.stderr, verbosity=options["verbosity"]) as progress:
            try:
                for span in resend.spans(profiles, _span_size(options)) if endpoints else ():
                    self._resend(span, endpoints, options, summary, using)
                    progress.advance(span.count, f"--after {span.last_id}")
            except KeyboardInterrupt:
                summary.interrupted = True
        self._report(summary, options)
        if summary.interrupted:
            raise SystemExit(INTERRUPTED)
        if summary.not_found or summary.inactive_endpoints or summary.outside_audience or not endpoints:
            raise SystemExit(1)

    def _refuse_wrong_calls(self, options: dict[str, Any]) -> None:
        named = options["ids"] or options["email"] or options["third_party_id"]
        if not (named or options["all"] or options["stale"] or options["since"]):
            raise CommandError(
                "Nothing selected. Name profiles (ids, --email, --third-party-id), or use --all, --stale or --since.",
                returncode=WRONG_CALL,
            )
        if named and options["all"]:
            raise CommandError("--all can't be combined with named profiles. Leave one out.", returncode=WRONG_CALL)
        if options["verify"] and not options["stale"]:
            raise CommandError("--verify needs --stale. Add it, or leave --verify out.", returncode=WRONG_CALL)
        if options["rate"] is not None and not MIN_RATE <= options["rate"] < math.inf:
            raise CommandError(
                f"--rate is {options['rate']:g}; it must be {MIN_RATE} or higher.", returncode=WRONG_CALL
            )

    def _endpoints(self, names_or_ids: list[str], summary: ResendSummary, using: str) -> list[ClientEndpoint]:
        active = ClientEndpoint.objects.using(using).active()
        chosen = endpoints_named(names_or_ids, using=using) if names_or_ids else list(active)
        summary.inactive_endpoints = [endpoint.name for endpoint in chosen if not endpoint.is_active]
        summary.endpoints = [endpoint.name for endpoint in chosen if endpoint.is_active]
        return [endpoint for endpoint in chosen if endpoint.is_active]

    def _profiles(self, options: dict[str, Any], summary: ResendSummary, using: str) -> UserProfileQuerySet:
        profiles = UserProfile.objects.using(using).filter(pk__gt=options["after"])
        if options["since"]:
            profiles = profiles.filter(date_last_updated__gte=parse_moment("--since", options["since"]))
        named: Q | None = None
        for option, attribute in (("ids", "pk"), ("email", "email_address"), ("third_party_id", "third_party_id")):
            wanted = options[option]
            if wanted:
                named = (named or Q()) | Q(**{f"{attribute}__in": wanted})
                matching = UserProfile.objects.using(using).filter(**{f"{attribute}__in": wanted})
                existing = {str(value) for value in matching.values_list(attribute, flat=True)}
                summary.not_found += [str(value) for value in wanted if str(value) not in existing]
        return profiles if named is None else profiles.filter(named)

    def _ask(self, total: int) -> None:
        if not self.stdout.isatty():
            raise CommandError(
                "--all sends every profile. Add --yes, or --dry-run to see how many.", returncode=WRONG_CALL
            )
        if input(f"Resend all {total:,} profiles? Type yes: ").strip().lower() != "yes":
            raise CommandError("Nothing was sent.", returncode=1)

    def _resend(
        self,
        span: resend.Span,
        endpoints: list[ClientEndpoint],
        options: dict[str, Any],
        summary: ResendSummary,
        using: str,
    ) -> None:
        due_at = None
        if options["rate"]:
            # Spread the due times instead of sleeping, so that the command ends soon and the workers keep the rate.
            due_at = db_now(using) + timedelta(seconds=summary.profiles / options["rate"])
        with transaction.atomic(using=using):
            if options["stale"]:
                for endpoint in endpoints:
                    behind = self._profiles_behind(span, endpoint, options, using)
                    if options["dry_run"]:
                        summary.deliveries += len(behind)
                    else:
                        summary.deliveries += resend.record(
                            behind, using=using, endpoint_ids=[endpoint.pk], due_at=due_at
                        )
            elif options["dry_run"]:
                profiles: Any = span.profiles
                summary.deliveries += sum(profiles.in_audience_of(endpoint.pk).count() for endpoint in endpoints)
            else:
                endpoint_ids = [endpoint.pk for endpoint in endpoints]
                summary.deliveries += resend.record_selected(
                    span.profiles, using=using, endpoint_ids=endpoint_ids, due_at=due_at
                )
            after_commit(engines.wake, using, using=using)
        summary.profiles += span.count
        summary.last_profile = span.last_id

    def _profiles_behind(
        self, span: resend.Span, endpoint: ClientEndpoint, options: dict[str, Any], using: str
    ) -> list[int]:
        ids = list(span.profiles.values_list("pk", flat=True))
        return profiles_behind(ids, endpoint, using=using, verify=options["verify"])

    def _report(self, summary: ResendSummary, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(summary)))
            return
        for name in summary.not_found:
            self.stderr.write(f"No profile: {name}")
        for name in summary.inactive_endpoints:
            self.stderr.write(f"Endpoint {name} is not active: nothing is sent to it. Activate it first.")
        for pk in summary.outside_audience:
            names = ", ".join(summary.endpoints)
            self.stderr.write(f"Profile {pk} is outside the audience of {names}: nothing is sent.")
        if not summary.endpoints:
            self.stderr.write("There is no active endpoint to send to. Add or activate one in the admin.")
        if summary.interrupted:
            after = "" if summary.last_profile is None else f" with --after {summary.last_profile}"
            self.stderr.write(f"Interrupted. To continue, run the same command again{after}.")
        if options["verbosity"]:
            outcome = "would be recorded (dry run, nothing sent)" if summary.dry_run else "recorded"
            self.stdout.write(
                f"{summary.profiles:,} profiles looked at, {summary.deliveries:,} deliveries {outcome}"
                f" for {', '.join(summary.endpoints) or 'no endpoint'}."
            )


def _ids(profiles: UserProfileQuerySet) -> set[int]:
    return set(profiles.values_list("pk", flat=True))


def _span_size(options: dict[str, Any]) -> int:
    # Comparing states reads whole profiles, so it works in smaller steps.
    most = SNAPSHOTS_PER_STEP if options["stale"] else resend.ROWS_PER_STATEMENT
    return most if options["rate"] is None else max(1, min(most, int(options["rate"])))
