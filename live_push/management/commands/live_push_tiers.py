"""Apply tier expiries and resets that are due, or the changes that an edited tier program causes."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import reset_queries, router
from django.db.models import QuerySet

from live_push.management.arguments import INTERRUPTED, WRONG_CALL, parse_moment
from live_push.management.progress import Progress
from live_push.models import TierEvent, TierMembership, TierProgram
from live_push.models.clock import db_now
from live_push.tiers import clock as batches
from live_push.tiers.clock import Batch


@dataclass
class TierSummary:
    """The result of a run; in a dry run, what it would have done. ``--json`` prints it after the changes."""

    dry_run: bool
    now: str
    looked_at: int = 0
    changed: int = 0
    events: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False

    def add(self, batch: Batch) -> None:
        """Add the result of a batch."""
        self.looked_at += batch.looked_at
        self.changed += batch.changed
        for event in batch.events:
            self.events[event.event] = self.events.get(event.event, 0) + 1
        self.problems += [sentence for sentence in batch.problems.values() if sentence not in self.problems]

    def __str__(self) -> str:
        events = ", ".join(f"{count:,} {event}" for event, count in sorted(self.events.items()))
        changed = "would change (dry run, nothing written)" if self.dry_run else "changed"
        return f"{self.looked_at:,} members looked at, {self.changed:,} {changed}{': ' if events else ''}{events}."


@dataclass(frozen=True)
class Work:
    """What a run does.

    ``batches``
        A function that processes the batches and yields their results. It takes ``dry_run``.
    ``members``
        The members to process, which are counted to show the progress.
    """

    batches: Callable[..., Iterator[Batch]]
    members: QuerySet[TierMembership]


class Command(BaseCommand):
    help = (
        "Apply every tier expiry and reset that is due, with the date at which it was due, and push the members that "
        "changed. Run it from cron; if a run is interrupted, the next one continues. Exit code 0: all done; 1: a "
        "program with a faulty ladder was left out, or you answered no; 2: a wrong call; 130: interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--dry-run", action="store_true", help="List every change; write nothing.")
        add(
            "--now",
            metavar="MOMENT",
            help="Use this time instead of the current one, such as 2027-01-01T00:00Z. A time in the future needs "
            "--dry-run, --yes, or your answer on a terminal.",
        )
        add(
            "--reevaluate",
            action="store_true",
            help="After a tier program was edited: list what changes for its members, then apply it. No member drops.",
        )
        add("--program", metavar="NAME", help="With --reevaluate: only this program.")
        add("--batch-size", type=int, default=batches.MEMBERS_PER_BATCH, metavar="N", help="Members per transaction.")
        add("--yes", action="store_true", help="Do not ask.")
        add("--json", action="store_true", help="Print one JSON object: every change, then the summary.")

    def handle(self, **options: Any) -> None:
        using = router.db_for_write(TierMembership)
        clock = db_now(using)
        now = parse_moment("--now", options["now"]) if options["now"] else clock
        self._refuse_wrong_calls(options)
        work = self._reevaluation(options, now, using) if options["reevaluate"] else self._due(options, now, using)
        question = f"Apply what becomes due until {now.isoformat()}?" if now > clock else None
        if options["reevaluate"] and not (options["dry_run"] or options["json"]):
            rehearsal = self._run(work, now, {**options, "dry_run": True})
            self._report(rehearsal, options)
            if rehearsal.interrupted:
                raise SystemExit(INTERRUPTED)
            question = f"Change {rehearsal.changed:,} members?"
        if question and not options["dry_run"]:
            self._ask(question, options)
        summary = self._run(work, now, options)
        self._report(summary, options)
        if summary.interrupted:
            raise SystemExit(INTERRUPTED)
        if summary.problems:
            raise SystemExit(1)

    def _refuse_wrong_calls(self, options: dict[str, Any]) -> None:
        if options["program"] and not options["reevaluate"]:
            raise CommandError("--program needs --reevaluate. Add it, or leave --program out.", returncode=WRONG_CALL)
        if options["batch_size"] < 1:
            raise CommandError(f"--batch-size is {options['batch_size']}; it must be above 0.", returncode=WRONG_CALL)
        answered = options["yes"] or options["dry_run"]
        if options["reevaluate"] and not answered and (options["json"] or not self.stdout.isatty()):
            raise CommandError(
                "--reevaluate changes members: add --yes (or --dry-run to see which).", returncode=WRONG_CALL
            )

    def _due(self, options: dict[str, Any], now: datetime, using: str) -> Work:
        return Work(
            partial(batches.due_batches, now, using=using, batch_size=options["batch_size"]),
            batches.due_members(now, using=using),
        )

    def _reevaluation(self, options: dict[str, Any], now: datetime, using: str) -> Work:
        programs = TierProgram.objects.using(using).order_by("name")
        if name := options["program"]:
            names = ", ".join(programs.values_list("name", flat=True)) or "none yet"
            programs = programs.filter(name=name)
            if not programs:
                raise CommandError(f"There is no tier program {name!r}. There are: {names}.", returncode=WRONG_CALL)

        def run(*, dry_run: bool) -> Iterator[Batch]:
            run_program = partial(
                batches.reevaluation_batches, now=now, dry_run=dry_run, using=using, batch_size=options["batch_size"]
            )
            return chain.from_iterable(run_program(program) for program in programs)

        return Work(run, TierMembership.objects.using(using).filter(tier__program__in=programs))

    def _ask(self, question: str, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if options["json"] or not self.stdout.isatty():
            raise CommandError("This needs --yes (or --dry-run to see what would happen).", returncode=WRONG_CALL)
        if input(f"{question} Type yes: ").strip().lower() != "yes":
            raise CommandError("Nothing was changed.", returncode=1)

    def _run(self, work: Work, now: datetime, options: dict[str, Any]) -> TierSummary:
        summary = TierSummary(dry_run=options["dry_run"], now=now.isoformat())
        listed = options["dry_run"] or options["json"] or options["verbosity"] > 1
        # A progress bar and a list on the same terminal would overwrite each other.
        quiet = listed and self.stdout.isatty()
        verbosity = 0 if quiet else options["verbosity"]
        with Progress(work.members.count(), "members", stream=self.stderr, verbosity=verbosity) as progress:
            if options["json"]:
                self.stdout.write('{"changes": [', ending="")
            try:
                for batch in work.batches(dry_run=options["dry_run"]):
                    if listed:
                        self._list(batch.events, as_json=options["json"], first=not summary.events)
                    summary.add(batch)
                    progress.advance(batch.looked_at)
                    # With DEBUG, Django keeps the text of every statement in memory.
                    reset_queries()
            except KeyboardInterrupt:
                summary.interrupted = True
        return summary

    def _list(self, events: list[TierEvent], *, as_json: bool, first: bool) -> None:
        for event in events:
            due = event.due_at.isoformat()
            if not as_json:
                path = (
                    f"{event.from_title} → {event.to_title}" if event.from_title != event.to_title else event.to_title
                )
                self.stdout.write(f"{due}  profile {event.profile_id}: {event.event}, {path}")
                continue
            change = {
                "profile": event.profile_id,
                "event": event.event,
                "due_at": due,
                "from": event.from_title,
                "to": event.to_title,
            }
            self.stdout.write(("\n" if first else ",\n") + json.dumps(change, ensure_ascii=False), ending="")
            first = False

    def _report(self, summary: TierSummary, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write("], " + json.dumps(asdict(summary), ensure_ascii=False)[1:])
            return
        for sentence in summary.problems:
            self.stderr.write(f"Left out: {sentence}")
        if summary.interrupted:
            self.stderr.write("Interrupted. The listed changes are done; the next run continues.")
        if options["verbosity"]:
            self.stdout.write(str(summary))
