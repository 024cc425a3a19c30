"""The guide for sites that have members already: its snippets are a project, and what that project changes arrives."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.adopting.site import PAGE, Site
from tests.readme import snippets


def test_every_snippet_of_python_is_a_file_of_the_site_or_its_setting() -> None:
    titles = [snippet.title for snippet in snippets(PAGE, "python")]
    assert titles
    assert [title for title in titles if not title.startswith(("members/", "settings.py, for "))] == []


def test_what_the_site_changes_arrives_at_its_clients(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert "No changes detected" in site.manage("makemigrations --check --dry-run")
    printed = site.manage("test tests.adopting.changes --noinput")
    assert "\nOK" in printed, printed


@pytest.mark.slow
def test_a_back_fill_needs_no_more_memory_for_more_members(tmp_path: Path) -> None:
    members = os.environ.get("SITE_MEMBERS", "20000")
    printed = Site(tmp_path).manage("test tests.adopting.back_fill --noinput", SITE_MEMBERS=members)
    sys.stdout.write(printed)
    (figures,) = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert figures["further_peak_mb"] < 10
