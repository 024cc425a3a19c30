"""Somebody follows the README in a project of their own, in five steps, and a stranger receives the push."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.form_user import FormUser
from tests.acceptance.receiver import Receiver, Request, receiver
from tests.building import build, run_pip
from tests.readme import snippets

pytestmark = pytest.mark.slow

NO_TIER = {
    "resetDate": None,
    "dateReached": None,
    "scoreNeededToReach": None,
    "nextLevel": None,
    "tierScore": None,
    "timeframeScore": None,
    "assignedByEvent": None,
    "currentLevel": None,
    "score": None,
    "daysUntilResetDate": None,
    "daysUntilExpirationDate": None,
    "dateAssigned": None,
    "expirationDate": None,
    "scoreNeededToMaintain": None,
}
A_MOMENT = int
BODY: dict[str, Any] = {
    "country": "GB",
    "receiveSmsMessages": 0,
    "facebookUserId": None,
    "redeemablePoints": 0,
    "postalCode": None,
    "tierInfo": NO_TIER,
    "customData": {"employee_id": "employee1"},
    "signUpTypeId": None,
    "isActive": 1,
    "emailAddress": "ada@example.com",
    "password": None,
    "dateMobileVerified": None,
    "dateLastLogin": None,
    "yahooUserId": None,
    "state": None,
    "id": 1,
    "monthlyPoints": 0,
    "signUpCampaign": None,
    "signUpChannelId": None,
    "ipAddress": None,
    "fanRank": 0,
    "firstName": "Zoë",
    "fsqUserId": None,
    "activityStreamOptIn": None,
    "googleUserId": None,
    "region": None,
    "instUserId": None,
    "weeklyPoints": 0,
    "lastName": "Lovelace",
    "clientBrandingId": None,
    "gender": None,
    "city": None,
    "dateLastUpdated": A_MOMENT,
    "hashAlgorithmId": None,
    "numFacebookFriends": 0,
    "thirdPartyId": None,
    "dateCreated": A_MOMENT,
    "mobilePhoneNumber": None,
    "salt": None,
    "numTwitterFollowers": 0,
    "streetAddress1": None,
    "streetAddress2": None,
    "emailIsVerified": 0,
    "fanLevelName": None,
    "dateOfBirth": 142_344_000,  # 6 July 1974, noon UTC
    "receiveEmailUpdates": 0,
    "userName": "ada",
    "twitterUserId": None,
    "langPref": None,
    "totalPoints": 0,
    "numPointsPurchased": 0,
    "middleName": None,
    "passwordGenerated": 0,
}


class Shop:
    """The project of somebody who follows the README."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / ".venv" / "bin"
        # The package's name leads to the wheel that was just built, and nowhere else.
        constraint = folder / "constraint.txt"
        constraint.write_text(f"live-push @ {build().wheel.as_uri()}\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "COV_", "PYTHON"))}
        self.environment = {
            **kept,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PIP_CONSTRAINT": str(constraint),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, line: str, **options: Any) -> str:
        """Run one line of the README, as it stands; returns what it prints."""
        done = run_pip(["bash", "-c", line], cwd=self.folder, env=self.environment, **options)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def running(self, line: str, *, ready: str) -> Iterator[None]:
        """Keep one line of the README running; begins once it has printed ``ready``."""
        process = subprocess.Popen(  # noqa: S603
            ["bash", "-c", f"exec {line}"],  # noqa: S607
            cwd=self.folder,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                assert process.stdout
                assert any(ready in printed for printed in process.stdout), f"{line} ended before it was ready"
                yield
            finally:
                process.terminate()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    run_pip([sys.executable, "-m", "venv", str(tmp_path / ".venv")])
    return Shop(tmp_path)


def _lines(language: str, beginning: str) -> str:
    found = [snippet.code for snippet in snippets("README.md", language) if snippet.code.startswith(beginning)]
    assert found, f"the README has no {language} that begins with {beginning!r}"
    return "\n".join(found)


def _follow_the_readme(shop: Shop, receiver: Receiver) -> None:
    shop.run(_lines("shell", "pip install live-push"))
    shop.run("django-admin startproject shop .")
    (shop.folder / "client-authority.pem").write_bytes(receiver.authority)
    with (shop.folder / "shop" / "settings.py").open("a") as settings:
        settings.write(_lines("python", "# settings.py"))
    shop.run(_lines("shell", "python manage.py migrate"))
    assert "no issues" in shop.run("python manage.py check --database default")
    endpoint = _lines("python", "# shell").replace("https://client.example.com/push", receiver.url)
    shop.run("python manage.py shell", input=endpoint)


@contextmanager
def _web_server(shop: Shop) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with shop.running(f"python manage.py runserver 127.0.0.1:{port} --noreload", ready="Quit the server"):
        yield f"http://127.0.0.1:{port}"


def _save_a_member(site: str) -> None:
    user = FormUser(site)
    user.open("/admin/login/?next=/admin/live_push/userprofile/add/")
    user.submit(username="boss", password="boss-password")
    page = user.submit(
        user_name="ada",
        first_name="Zoë",
        last_name="Lovelace",
        email_address="ada@example.com",
        country="GB",
        date_of_birth="1974-07-06",
        custom_data='{"employee_id": "employee1"}',
        _save="Save",
    )
    assert "added successfully" in page, re.sub(r"\s+", " ", page)


def _judge(request: Request) -> None:
    assert request.path == "/push"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-api-key"] == "their-key"
    assert "authorization" not in request.headers
    assert uuid.UUID(request.headers["webhook-id"])
    assert int(request.headers["webhook-timestamp"]) == pytest.approx(time.time(), abs=60)
    assert int(request.headers["live-push-sequence"]) > 0
    assert request.headers["live-push-attempt"] == "1"
    body = json.loads(request.body)
    assert list(body) == list(BODY)
    assert list(body["tierInfo"]) == list(NO_TIER)
    for key, expected in BODY.items():
        if expected is A_MOMENT:
            assert body[key] == pytest.approx(time.time(), abs=60)
            assert type(body[key]) is int
        else:
            assert (type(body[key]), body[key]) == (type(expected), expected), key
    assert "Zoë".encode() in request.body, "letters are sent as themselves"
    assert b": " not in request.body, "no blanks between key and value"


@pytest.mark.enable_socket
def test_a_project_of_ones_own_pushes_what_its_admin_saves(shop: Shop) -> None:
    with receiver() as client:
        _follow_the_readme(shop, client)
        shop.environment["DJANGO_SUPERUSER_PASSWORD"] = "boss-password"
        shop.run("python manage.py createsuperuser --noinput --username boss --email boss@example.com")
        worker = _lines("shell", "python manage.py live_push_worker").strip()
        with shop.running(worker, ready="delivers"), _web_server(shop) as site:
            _save_a_member(site)
            request = client.arrived.get(timeout=20)

    _judge(request)
    assert client.arrived.empty(), "one save, one push"
