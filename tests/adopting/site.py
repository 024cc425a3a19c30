"""A site with members of its own that adopts live_push as docs/adopting.md says: its files are the page's snippets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.readme import ROOT, Snippet, snippets

PAGE = "docs/adopting.md"
BEFORE = ", as the site has it"
MIGRATIONS = "members/migrations/"

SETTINGS = """
from tests.settings import DATABASES as _of_the_tests

INSTALLED_APPS += ["members"]
AUTH_USER_MODEL = "members.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {"default": _of_the_tests["default"]}
DATABASES["default"]["TEST"]["NAME"] += os.environ["SITE_DATABASE"]
"""

APP = """
from django.apps import AppConfig


class MembersConfig(AppConfig):
    name = "members"

    def ready(self):
        from . import mirror
"""


def live_push_of(way: str) -> dict[str, Any]:
    """The setting that the page gives to sites of the ways ``a``, ``b`` or ``c``."""
    (snippet,) = [one for one in snippets(PAGE, "python") if one.title == f"settings.py, for {way}"]
    names: dict[str, Any] = {}
    exec(snippet.code, names)  # noqa: S102
    settings: dict[str, Any] = names["LIVE_PUSH"]
    return settings


def shell_lines(containing: str) -> list[str]:
    """The lines of the page's shell blocks that contain this, without ``python manage.py``."""
    lines = [line for snippet in snippets(PAGE, "shell") for line in snippet.code.splitlines()]
    found = [line.removeprefix("python manage.py ") for line in lines if containing in line]
    assert found, f"{PAGE} has no line with {containing!r}"
    return found


class Site:
    """The project, made in two steps, because a site has its own tables before it adopts anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))},
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PYTHONPATH": str(ROOT),
            # Two tests may use a site of their own at the same time.
            "SITE_DATABASE": f"_site{os.environ.get('PYTEST_XDIST_WORKER', '')}",
        }
        self._run("-m", "django", "startproject", "shop", ".", DJANGO_SETTINGS_MODULE="")
        (folder / "members").mkdir()
        (folder / "members" / "__init__.py").touch()
        self._append("shop/settings.py", "import os\n" + SETTINGS)
        code = [one for one in snippets(PAGE, "python") if one.title.startswith("members/")]
        self._write([one for one in code if one.title.endswith(BEFORE)])
        self.manage("makemigrations members")

        install, *_ = [one for one in snippets("README.md", "python") if one.title == "settings.py"]
        self._append("shop/settings.py", install.code)
        self._append("members/apps.py", APP)
        after = [one for one in code if not one.title.endswith(BEFORE)]
        self._write([one for one in after if not one.title.startswith(MIGRATIONS)])
        for line in shell_lines("makemigrations"):
            self.manage(line)
        self._write([one for one in after if one.title.startswith(MIGRATIONS)])

    def manage(self, line: str, **environment: str) -> str:
        """Run a command of the project, and return what it prints."""
        return self._run("manage.py", *line.split(), **environment)

    def _run(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _write(self, code: list[Snippet]) -> None:
        for snippet in code:
            self._append(snippet.title.removesuffix(BEFORE), snippet.code)

    def _append(self, name: str, code: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(f"\n{code}")
