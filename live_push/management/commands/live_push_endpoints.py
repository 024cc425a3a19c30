"""Apply a file that describes the endpoints, or write it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import router

from live_push.figures.brandings import unused_brandings
from live_push.housekeeping.endpoint_file import (
    AUDIENCE,
    NO_LIMIT,
    EndpointFileError,
    endpoints_as_toml,
    read_endpoint_file,
)
from live_push.housekeeping.endpoint_plan import PlannedStep, Step, apply_endpoints, history_is_kept
from live_push.management.arguments import WRONG_CALL
from live_push.models import ClientEndpoint
from live_push.rules.endpoint_url import shown_url
from live_push.rules.toml import as_toml

SIGNS = {Step.ADD: "+", Step.CHANGE: "~", Step.SWITCH_OFF: "-", Step.KEEP: " ", Step.LEAVE: " "}


class Command(BaseCommand):
    help = (
        "Keep the endpoints in a TOML file. --apply adds the endpoints that are missing, changes those that differ, "
        "and shows what it does. All is done in one transaction, or nothing. An endpoint is found by its name. "
        "An option that the file leaves out is left as it is. --export prints the file for the endpoints that exist. "
        "Exit code 0: all done, or with --check no difference; 1: with --check, there are differences; 2: a wrong call "
        "or something wrong in the file, and nothing was changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group(required=True)
        mode.add_argument("--apply", metavar="FILE", type=Path, help="Make the endpoints like this file.")
        mode.add_argument("--export", action="store_true", help="Print the file, without secrets.")
        parser.add_argument("--check", action="store_true", help="Change nothing; exit code 1 if anything differs.")
        parser.add_argument(
            "--prune", action="store_true", help="Switch off the endpoints that are not in the file. None is deleted."
        )
        parser.add_argument(
            "--user",
            metavar="NAME",
            help="The user under whose name the changes enter the admin's history. Without it, they don't enter it.",
        )
        parser.add_argument("--json", action="store_true", help="Print what is done, or what is wrong, as JSON.")

    def handle(self, **options: Any) -> None:
        if options["export"]:
            if any(options[name] for name in ("check", "prune", "user", "json")):
                raise CommandError("--export takes no other options. Leave them out.", returncode=WRONG_CALL)
            self.stdout.write(_exported(), ending="")
            return
        user_id = None if options["user"] is None else _user_id(options["user"])
        check = options["check"]
        try:
            file = read_endpoint_file(options["apply"])
            steps = apply_endpoints(file, prune=options["prune"], check=check, user_id=user_id)
        except EndpointFileError as error:
            if not options["json"]:
                raise CommandError(f"{error}\nNothing was changed.", returncode=WRONG_CALL) from None
            self.stdout.write(json.dumps({"errors": [asdict(fault) for fault in error.faults]}))
            raise SystemExit(WRONG_CALL) from None
        self._report(steps, check=check, as_json=options["json"], verbosity=options["verbosity"])
        self._warn_of_unused_brandings(steps)
        differs = any(step.writes for step in steps)
        if differs and not check and user_id is None and history_is_kept():
            self.stderr.write("The changes are not in the admin's history. Name a user with --user to enter them.")
        if differs and check:
            raise SystemExit(1)

    def _report(self, steps: Sequence[PlannedStep], *, check: bool, as_json: bool, verbosity: int) -> None:
        if as_json:
            self.stdout.write(json.dumps({"applied": not check, "endpoints": list(map(_as_object, steps))}))
        elif verbosity:
            self.stdout.write("\n".join(_as_text(steps, check=check)))

    def _warn_of_unused_brandings(self, steps: Sequence[PlannedStep]) -> None:
        using = router.db_for_write(ClientEndpoint)
        for step in steps:
            _old, audience = step.changes.get(AUDIENCE, (None, None))
            if audience == []:
                self.stderr.write(f"Endpoint {step.endpoint.name} receives no member: its audience is empty.")
            for branding in unused_brandings(audience, using=using) if isinstance(audience, list) else ():
                self.stderr.write(f"Endpoint {step.endpoint.name}: no member has the branding {branding!r} yet.")


def _exported() -> str:
    endpoints = ClientEndpoint.objects.using(router.db_for_write(ClientEndpoint))
    # Not sorted by the database, because the order would depend on its collation.
    return endpoints_as_toml(sorted(endpoints, key=lambda endpoint: endpoint.name))


def _user_id(name: str) -> Any:
    if not history_is_kept():
        raise CommandError("Without django.contrib.admin there is no history. Leave --user out.", returncode=WRONG_CALL)
    users = get_user_model()._default_manager.using(router.db_for_write(apps.get_model("admin.LogEntry")))
    user = users.filter(**{get_user_model().USERNAME_FIELD: name}).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.", returncode=WRONG_CALL)
    return user.pk


def _as_text(steps: Sequence[PlannedStep], *, check: bool) -> Iterator[str]:
    for step in steps:
        yield f"{SIGNS[step.step]} {step.endpoint.name}: {step.step}"
        for option, (old, new) in step.changes.items():
            old_and_new = (
                _shown(option, new) if step.step is Step.ADD else f"{_shown(option, old)} -> {_shown(option, new)}"
            )
            yield f"    {option}: {old_and_new}"
        for name in step.secrets:
            yield f"    {name}: {_secret_change(step, name)}"
    counts = ", ".join(f"{sum(step.step is kind for step in steps)} {kind}" for kind in Step)
    yield f"{counts}. Nothing was written." if check else f"{counts}."


def _as_object(step: PlannedStep) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for option, values in step.changes.items():
        old, new = (shown_url(value) if option == "url" and value else value for value in values)
        changes[option] = {"new": new} if step.step is Step.ADD else {"old": old, "new": new}
    secrets = {name: _secret_change(step, name) for name in step.secrets}
    return {"name": step.endpoint.name, "outcome": step.step.replace(" ", "_"), "changes": changes, "secrets": secrets}


def _secret_change(step: PlannedStep, name: str) -> str:
    if getattr(step.endpoint, name) is None:
        return "removed"
    return "set" if step.step is Step.ADD else "changed"


def _shown(option: str, value: Any) -> str:
    """Return a value as it stands in the file, without the query of a URL, which may hold a token."""
    if option == "rate_limit_per_second" and value is None:
        value = NO_LIMIT
    return as_toml(shown_url(value) if option == "url" else value)
