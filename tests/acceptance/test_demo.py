"""The example project tells its story, says when it does not come out as told, and is fit for production."""

from __future__ import annotations

import io
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import no_style

from example_project.narrator import Narrator
from tests.readme import ROOT

COLOUR = "\x1b["
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "DJANGO_", "COV_"))}


def _manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _python("manage.py", *arguments, **environment)


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**CLEAN, **environment},
        check=False,
        text=True,
        capture_output=True,
        timeout=60,
    )


# Its retry comes after ten seconds, as in life. The short versions end before it.
@pytest.mark.slow
def test_the_demo_tells_its_story_in_under_half_a_minute() -> None:
    done = _manage("demo")

    assert done.returncode == 0, done.stderr
    seconds = re.search(r"All \d+ checks held, in (\d+) seconds", done.stdout)
    assert seconds
    assert int(seconds[1]) < 30
    assert "✗" not in done.stdout
    assert COLOUR not in done.stdout, "colours are for terminals only"
    assert "password123" not in done.stdout
    # The worked example of the tiers: event, tier, timeframe and tier score, to reach, to maintain.
    rows = re.findall(r"(start|update|jump|maintain|drop) +(Tier \d) +(\d+) +(\d+) +(\d+) +(\d+|null) ", done.stdout)
    assert rows == [
        ("start", "Tier 1", "0", "0", "1000", "null"),
        ("update", "Tier 1", "700", "700", "300", "null"),
        ("jump", "Tier 2", "1200", "200", "1300", "0"),
        ("maintain", "Tier 2", "0", "0", "2500", "1000"),
        ("drop", "Tier 1", "0", "0", "1000", "null"),
    ]


def test_a_terminal_that_lacks_a_sign_does_not_end_the_story() -> None:
    written = io.BytesIO()
    narrator = Narrator(OutputWrapper(io.TextIOWrapper(written, "ascii", write_through=True)), no_style())

    narrator.check("The client accepted it.", True)

    assert written.getvalue() == b"   ? The client accepted it.\n"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("pretend_client.PASSWORD = 'another'", id="the client refuses our login"),
        pytest.param("story.API_KEY = 'another'", id="we use a wrong key", marks=pytest.mark.slow),
        pytest.param(
            "pretend_client._CLIENTS[pretend_client.CRM] = lambda headers, body: (200, {'third_party_id': True})",
            id="the client's id is of no use",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_demo_fails_where_the_story_does_not_come_out_as_told(change: str) -> None:
    code = f"""
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
django.setup()
from example_project import pretend_client, story
{change}
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "demo", "--no-color"])
"""
    done = _python("-c", code)

    assert done.returncode == 1, done.stdout
    assert "The story did not come out as told" in done.stderr


def test_the_demo_leaves_a_database_with_members_alone(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    assert _manage("migrate", "--verbosity", "0", DATABASE_URL=database).returncode == 0
    made = _manage(
        "shell",
        "-c",
        "from live_push.models import UserProfile; UserProfile.objects.create(user_name='real')",
        DATABASE_URL=database,
    )
    assert made.returncode == 0, made.stderr

    done = _manage("demo", DATABASE_URL=database)

    assert done.returncode == 1
    assert "has members or endpoints already" in done.stderr


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stays_up_with_admin_and_clients_page_until_interrupted(ending: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--serve", "--port", "0"],
        cwd=ROOT,
        env={**CLEAN, "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout
        told = ""
        for line in process.stdout:
            told += line
            if "Ctrl-C" in line:
                break
        admin = re.search(r"http://127\.0\.0\.1:\d+/admin/", told)
        page = re.search(r"Clients' page: +(https://127\.0\.0\.1:\d+/)", told)
        assert admin, told
        assert page
        # The authority of the clients lives as long as they do; a browser would ask its user to go on.
        trusting = ssl._create_unverified_context()  # noqa: S323
        with urllib.request.urlopen(page[1], context=trusting, timeout=10) as answer:  # noqa: S310
            shown = answer.read().decode()
        with urllib.request.urlopen(admin[0], timeout=10) as answer:  # noqa: S310
            login = answer.read().decode()
        process.send_signal(ending)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()

    assert process.returncode == 0
    assert "Ada Lovelace" in shown
    assert 'name="password"' in login


def test_the_example_project_is_fit_for_production() -> None:
    production = {
        "DEBUG": "off",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "shop.example.com",
        "LIVE_PUSH_SECRET_KEYS": secrets.token_urlsafe(50),
    }

    done = _manage("check", "--deploy", "--fail-level", "INFO", **production)

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


def test_production_without_a_key_of_its_own_does_not_start() -> None:
    done = _manage("check", DEBUG="off")

    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr
