"""The receivers' guide does what it says: its code runs here, against requests that came over real TLS."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from live_push.contract.signature import sign
from live_push.engines.run import run_once
from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint
from live_push.testing.https_server import EndpointServer
from tests.conftest import need
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = (Path(__file__).parents[2] / "docs" / "receivers.md").read_text()
NODE = shutil.which("node")
STRANGER = "whsec_" + "C2FuMmV2ZW5tb3JlcmFuZG9tYnl0ZXM="
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

Headers = dict[str, str]
Verify = Callable[[bytes, Headers, str], bool]


def snippet(language: str, name: str) -> str:
    """The guide's code for that file: all its blocks."""
    comment = {"python": "#", "javascript": "//"}[language]
    blocks = re.findall(rf"```{language}\n{comment} {re.escape(name)}\n(.*?)```", GUIDE, re.DOTALL)
    assert blocks, name
    return "".join(blocks)


@cache
def in_python(name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(snippet("python", name), namespace)  # noqa: S102  (our own page)
    return namespace


def python_alone() -> Verify:
    return in_python("receiver.py")["verify"]


def python_with_library() -> Verify:
    return in_python("receiver_with_library.py")["verify"]


def node_alone() -> Verify:
    return in_node("receiver.mjs", Path())


def node_with_library() -> Verify:
    folders = [Path(folder) for folder in os.environ.get("NODE_PATH", "").split(os.pathsep) if folder]
    found = [folder for folder in folders if (folder / "standardwebhooks").is_dir()]
    need(
        found,
        "To check against the JavaScript library: npm install --prefix FOLDER standardwebhooks, "
        "and set NODE_PATH=FOLDER/node_modules.",
    )
    # Modules look beside the file, or the working directory, and not at NODE_PATH.
    return in_node("receiver_with_library.mjs", found[0].parent)


def in_node(name: str, folder: Path) -> Verify:
    need(NODE, "To run the guide's JavaScript, install Node 20 or newer: https://nodejs.org/")
    code = (
        snippet("javascript", name)
        + """
        import { readFileSync } from "node:fs";
        const { body, headers, secret } = JSON.parse(readFileSync(0, "utf8"));
        process.stdout.write(String(verify(Buffer.from(body, "base64"), headers, secret)));
        """
    )

    def verify(body: bytes, headers: Headers, secret: str) -> bool:
        question = json.dumps({"body": b64encode(body).decode(), "headers": headers, "secret": secret})
        command = [str(NODE), "--input-type=module", "--eval", code]
        ran = subprocess.run(command, input=question, capture_output=True, text=True, cwd=folder, check=False)  # noqa: S603
        assert ran.returncode == 0, ran.stderr
        return {"true": True, "false": False}[ran.stdout]

    return verify


@pytest.fixture(params=[python_alone, python_with_library, node_alone, node_with_library])
def verify(request: pytest.FixtureRequest) -> Verify:
    return request.param()


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        yield server


@pytest.fixture
def endpoint(server: EndpointServer) -> ClientEndpoint:
    return ClientEndpointFactory(url=server.url)


def pushed(server: EndpointServer) -> tuple[bytes, Headers]:
    """A push as it came in over TLS."""
    UserProfileFactory(first_name="Zoë")
    run_once("default", threads=1)
    received = server.received[-1]
    return received.body, dict(received.headers)


def forged(body: bytes, headers: Headers, secret: str, **replaced: str) -> Headers:
    """The headers, signed anew after a change by somebody who does know the secret."""
    headers = headers | replaced
    signature = sign(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    return headers | {"webhook-signature": signature}


def test_a_push_is_genuine(verify: Verify, server: EndpointServer, endpoint: ClientEndpoint) -> None:
    secret = signing_secrets.rotate(endpoint)
    body, headers = pushed(server)
    assert verify(body, headers, secret)


def test_what_was_tampered_with_is_not(verify: Verify, server: EndpointServer, endpoint: ClientEndpoint) -> None:
    secret = signing_secrets.rotate(endpoint)
    body, headers = pushed(server)
    refused = {
        "another body": verify(body + b" ", headers, secret),
        "another event": verify(body, headers | {"webhook-id": "another"}, secret),
        "another time": verify(body, headers | {"webhook-timestamp": str(int(time.time()) + 1)}, secret),
        "another secret": verify(body, headers, STRANGER),
        "another version": verify(
            body, headers | {"webhook-signature": "v2" + headers["webhook-signature"][2:]}, secret
        ),
        "half a signature": verify(body, headers | {"webhook-signature": headers["webhook-signature"][:20]}, secret),
        "no signature": verify(body, headers | {"webhook-signature": ""}, secret),
    }
    assert refused == dict.fromkeys(refused, False)


def test_what_lacks_a_header_is_not(verify: Verify, server: EndpointServer, endpoint: ClientEndpoint) -> None:
    secret = signing_secrets.rotate(endpoint)
    body, headers = pushed(server)
    for name in HEADERS:
        assert not verify(body, {other: value for other, value in headers.items() if other != name}, secret)


def test_what_was_recorded_is_not_taken_ten_minutes_later(
    verify: Verify, server: EndpointServer, endpoint: ClientEndpoint
) -> None:
    secret = signing_secrets.rotate(endpoint)
    body, headers = pushed(server)
    now = int(time.time())
    assert verify(body, forged(body, headers, secret, **{"webhook-timestamp": str(now - 100)}), secret)
    for moment in (now - 600, now + 600):
        assert not verify(body, forged(body, headers, secret, **{"webhook-timestamp": str(moment)}), secret)


def test_during_a_rotation_either_secret_serves(
    verify: Verify, server: EndpointServer, endpoint: ClientEndpoint
) -> None:
    old = signing_secrets.rotate(endpoint)
    new = signing_secrets.rotate(endpoint)
    body, headers = pushed(server)
    assert verify(body, headers, old)
    assert verify(body, headers, new)
    assert not verify(body, headers, STRANGER)


@pytest.mark.parametrize("moment", ["", "soon", "1e9", "²", "9" * 30, "-5"])
def test_an_odd_timestamp_is_refused_without_an_error(verify: Verify, moment: str) -> None:
    headers = {"webhook-id": "a", "webhook-timestamp": moment, "webhook-signature": "v1,AAAA"}
    assert not verify(b"{}", headers, STRANGER)


class TestTheStoredMember:
    @pytest.fixture
    def members(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE members (id INTEGER PRIMARY KEY, sequence INTEGER, profile TEXT)")
        yield connection
        connection.close()

    def store(self, members: sqlite3.Connection, body: bytes, headers: Headers) -> list[tuple[Any, ...]]:
        in_python("receiver.py")["store"](members, body, headers)
        return members.execute("SELECT * FROM members").fetchall()

    def test_the_newest_state_stays_whatever_arrives_later(
        self, members: sqlite3.Connection, server: EndpointServer, endpoint: ClientEndpoint
    ) -> None:
        profile = UserProfileFactory(first_name="Before")
        run_once("default", threads=1)
        profile.first_name = "After"
        profile.save()
        run_once("default", threads=1)
        older, newer = [(received.body, dict(received.headers)) for received in server.received]
        self.store(members, *older)
        (row,) = self.store(members, *newer)
        assert json.loads(row[2])["firstName"] == "After"
        assert [self.store(members, *again) for again in (newer, older)] == [[row], [row]]

    def test_a_test_push_leaves_no_trace(self, members: sqlite3.Connection) -> None:
        assert self.store(members, b'{"id":0}', {"live-push-test": "1"}) == []


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "live-push-sequence", "live-push-attempt"])
def test_the_guide_names_the_headers_that_come(name: str, server: EndpointServer, endpoint: ClientEndpoint) -> None:
    _, headers = pushed(server)
    assert name in headers
    assert f"`{name}`" in GUIDE
