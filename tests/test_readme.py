"""The README keeps its word: its snippets run, its commands exist, its tables say what the code says."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from live_push import api, signals
from live_push.conf import Settings, problems
from live_push.contract import headers
from live_push.contract.sample import sample
from live_push.models import ClientEndpoint, Delivery, UserProfile
from tests.readme import ROOT, Snippet, snippets

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
README = PAGES[0].read_text()
# Of django-tasks-db, which a host may or may not have.
NOT_OURS = {"db_worker", "prune_db_task_results"}


@dataclass(frozen=True)
class Table:
    """Rows of cells, without the head."""

    rows: list[list[str]]

    @classmethod
    def under(cls, head: str) -> Table:
        """The first table whose head begins so."""
        lines = README[README.index(head) :].splitlines()[2:]
        rows = [line for line, _ in pairwise([*lines, ""])]
        end = next(number for number, line in enumerate(rows) if not line.startswith("|"))
        return cls([[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[:end]])


def test_the_settings_table_names_every_key_its_default_and_its_meaning() -> None:
    defaults = Settings()
    expected = [
        [f"`{item.name}`", f"`{getattr(defaults, item.name)!r}`", item.metadata["meaning"]] for item in fields(Settings)
    ]

    assert Table.under("| Key | Default | Meaning |").rows == expected


def test_the_headers_table_names_every_header_of_our_own() -> None:
    named = {row[0].strip("`") for row in Table.under("| Header |").rows}

    ours = {value for value in vars(headers).values() if isinstance(value, str)}
    assert named == {name for name in ours if name.startswith(("webhook-", "live-push-"))}


def test_the_functions_and_signals_named_are_all_there_are() -> None:
    named = [re.match(r"`(\w+)\(", row[0])[1] for row in Table.under("| In `live_push.api` |").rows]  # type: ignore[index]

    assert set(named) == {name for name in api.__all__ if callable(getattr(api, name)) and name[0].islower()}
    public = [name for name, signal in vars(signals).items() if isinstance(signal, signals.Signal)]
    unnamed = [name for name in public if f"`{name}`" not in README]
    assert unnamed == ["profiles_changed", "endpoint_activated", "credentials_changed"], (
        "only the private signals go unnamed"
    )


def test_the_settings_snippets_pass_the_checks_of_the_settings() -> None:
    project: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}, "BASE_DIR": Path("/srv/shop")}
    for snippet in snippets("README.md", "python"):
        if snippet.title.startswith("settings.py"):
            exec(snippet.code, project)  # noqa: S102

    assert project["INSTALLED_APPS"] == ["live_push"]
    assert project["DATABASES"]["default"]["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert project["LIVE_PUSH"], "the last one gives LIVE_PUSH"
    assert [problem for problem in problems(project["LIVE_PUSH"]) if "CA_BUNDLE" not in problem] == []


@pytest.mark.django_db
def test_the_snippets_of_python_run_one_after_the_other() -> None:
    names: dict[str, Any] = {}
    for snippet in snippets("README.md", "python"):
        if not snippet.title.startswith("settings.py"):
            exec(snippet.code, names)  # noqa: S102

    endpoint, member = ClientEndpoint.objects.get(), UserProfile.objects.get()
    assert endpoint.reveal("api_key") == "their-key"
    assert (member.total_points, member.redeemable_points) == (500, 300)
    assert Delivery.objects.filter(endpoint=endpoint, profile=member).exists()
    assert names["tell_the_team"] in [receiver() for _, receiver, *_ in signals.endpoint_disabled.receivers]
    signals.endpoint_disabled.disconnect(names["tell_the_team"])


def test_the_excerpt_of_the_body_agrees_with_the_sample() -> None:
    (excerpt,) = snippets("README.md", "json")

    assert _is_part(json.loads(excerpt.code), sample())


def _is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        in_order = [key for key in whole if key in part] == list(part)
        return in_order and all(_is_part(value, whole[key]) for key, value in part.items())
    return bool(part == whole)


def _command_lines() -> list[Any]:
    return [
        pytest.param(line, id=f"{page.name}: {line}")
        for page in PAGES
        for line in re.findall(r"manage\.py (\w[^`\n]*)", page.read_text())
        if line.split()[0] not in NOT_OURS
    ]


@pytest.mark.parametrize("line", _command_lines())
def test_every_command_named_exists_and_takes_these_arguments(line: str) -> None:
    name, *arguments = shlex.split(line.split("  #")[0])
    commands = {**get_commands(), "demo": "example_project"}
    assert name in commands
    owner = commands[name]
    command = owner if isinstance(owner, BaseCommand) else load_command_class(owner, name)

    command.create_parser("manage.py", name).parse_args(arguments)


def test_the_unit_of_systemd_starts_the_worker() -> None:
    (snippet,) = snippets("docs/operations.md", "ini")
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(snippet.code)

    assert unit["Service"]["ExecStart"].split()[1:3] == ["manage.py", "live_push_worker"]
    assert unit["Service"]["Restart"] == "always"
    assert int(unit["Service"]["TimeoutStopSec"]) > Settings().TOTAL_TIMEOUT_SECONDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_two_first_commands_are_those_that_a_newcomer_pastes() -> None:
    first, second, *_ = snippets("README.md", "shell")

    assert first == Snippet(
        "", "python3 -m venv .venv && .venv/bin/pip install -e '.[demo]' && .venv/bin/python manage.py demo\n"
    )
    assert second == Snippet("", "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n")
