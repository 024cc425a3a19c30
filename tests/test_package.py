"""What is published is all that is needed, and nothing else."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import live_push
from tests.building import build
from tests.readme import ROOT
from tests.test_architecture import MODULES

BUILT = pytest.mark.slow
"""Building the package takes ten seconds, and an index that can be reached."""


def _source_files() -> set[str]:
    files = (path for path in (ROOT / "live_push").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in files}


def _wheel_files() -> set[str]:
    with zipfile.ZipFile(build().wheel) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def _metadata() -> Message:
    with zipfile.ZipFile(build().wheel) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


@BUILT
def test_the_wheel_holds_the_whole_package_and_nothing_else() -> None:
    assert _wheel_files() == _source_files()


@BUILT
@pytest.mark.parametrize(
    "needed",
    [
        "live_push/py.typed",
        "live_push/migrations/0001_initial.py",
        "live_push/management/commands/live_push_worker.py",
        "live_push/templates/",
        "live_push/static/",
        "live_push/locale/de/LC_MESSAGES/django.mo",
    ],
)
def test_the_wheel_holds_what_is_easily_forgotten(needed: str) -> None:
    assert any(name.startswith(needed) for name in _wheel_files())


@BUILT
def test_the_sdist_holds_no_tests_and_no_example() -> None:
    with tarfile.open(build().sdist) as sdist:
        parts = {Path(name).parts[1] for name in sdist.getnames() if len(Path(name).parts) > 1}

    assert {"live_push", "README.md", "CHANGELOG.md", "LICENSE", "setup.cfg", "pyproject.toml"} <= parts
    assert not {"tests", "example_project", "manage.py"} & parts


@BUILT
def test_the_metadata_name_license_version_and_python() -> None:
    metadata = _metadata()

    assert metadata["Version"] == live_push.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "live_push" in str(metadata.get_payload()), "the README is the long description"


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## (?!Unreleased)(\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert newest
    assert newest[1] == live_push.__version__


@BUILT
def test_every_foreign_import_is_declared() -> None:
    distributions = packages_distributions()
    foreign = {
        imported.split(".")[0]
        for module in MODULES.values()
        for imported in module.imports()
        if imported.split(".")[0] not in {*sys.stdlib_module_names, "live_push"}
    }
    declared = {
        re.split(r"[^A-Za-z0-9-]", text)[0].lower().replace("_", "-")
        for text in _metadata().get_all("Requires-Dist", [])
        if not re.search(r"extra == ['\"](test|dev|demo)", text)
    }
    # Django's tasks for the older Django are the host's own choice, as is its task backend.
    optional = {"django_tasks"}

    undeclared = {
        name
        for name in foreign - optional
        if not {item.lower().replace("_", "-") for item in distributions.get(name, [name])} & declared
    }
    assert undeclared == set()
