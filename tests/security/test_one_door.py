"""There is one door to the outside: whatever the app does, nothing else of it opens a connection."""

from __future__ import annotations

import io
import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse
from pytest_socket import SocketConnectBlockedError

import live_push
from live_push.engines.run import run_once
from live_push.testing.https_server import EndpointServer
from tests.factories import ClientEndpointFactory, UserProfileFactory

HOUSE = Path(live_push.__file__).parent
EXAMPLE = HOUSE.parent / "example_project"

# What opens a connection, or looks a name up, in whatever library.
OPENS = re.compile(
    r"\b(create_connection|getaddrinfo|gethostbyname|urlopen|HTTPS?Connection|open_connection|connect_ex)\b"
    r"|\bpycurl\.Curl\("
    r"|\brequests\.(get|post|put|patch|delete|head|request|Session)\b"
    r"|\bsocket\.socket\((?!fileno)"
)
DOOR = {
    "delivery/transport.py",
    "delivery/fast/attempt.py",
    "delivery/fast/transfer.py",
    "delivery/dialling.py",
    "delivery/resolver.py",
}


@pytest.mark.parametrize("folder", [HOUSE, EXAMPLE], ids=["the-app", "the-example"])
def test_no_other_file_spells_what_opens_a_connection(folder: Path) -> None:
    found = {
        str(path.relative_to(folder)): match[0]
        for path in sorted(folder.rglob("*.py"))
        if (match := OPENS.search(path.read_text()))
    }
    assert {name: what for name, what in found.items() if name not in DOOR} == {}
    assert folder == EXAMPLE or set(found) == DOOR, "The search finds the door itself."


def test_no_test_leaves_this_machine() -> None:
    # Newer versions of the wall warn before they refuse, and warnings are errors here.
    with pytest.raises((SocketConnectBlockedError, UserWarning)):
        socket.create_connection(("192.0.2.1", 443), timeout=1)


class Oracle:
    """Hears from Python itself which of our files connects to a port or looks a name up, whatever library does it."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.doors: set[str] = set()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.port is None or event not in ("socket.connect", "socket.getaddrinfo"):
            return
        if event == "socket.connect":
            address = arguments[1]
            if not isinstance(address, tuple) or address[1] != self.port:
                return
        elif arguments[1] != self.port:
            return
        self.doors.add(_innermost_of_ours(sys._getframe(1)))

    @contextmanager
    def watching(self, port: int) -> Iterator[set[str]]:
        self.port, self.doors = port, set()
        try:
            yield self.doors
        finally:
            self.port = None


def _innermost_of_ours(frame: FrameType | None) -> str:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(HOUSE):
            return str(path.relative_to(HOUSE))
        frame = frame.f_back
    return "elsewhere"


oracle = Oracle()
# For the life of the process: there is no way to take a hook away.
sys.addaudithook(oracle)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("transport", "dials"),
    [("transport.RequestsTransport", "delivery/dialling.py"), ("fast.FastTransport", "delivery/fast/attempt.py")],
)
def test_whatever_is_done_only_the_door_opens(transport: str, dials: str) -> None:
    cache.clear()
    admin = Client()
    admin.force_login(User.objects.create_superuser("boss"))
    told = {"TRANSPORT": f"live_push.delivery.{transport}"}
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings | told):
        endpoint = ClientEndpointFactory(url=server.url.replace("127.0.0.1", "localhost"))
        with oracle.watching(server.port) as doors:
            profile = UserProfileFactory()
            endpoint.full_clean()
            run_once("default", threads=2)
            for name in ("change", "test", "signing"):
                admin.get(reverse(f"admin:live_push_clientendpoint_{name}", args=[endpoint.pk]))
            preview = reverse("admin:live_push_userprofile_preview", args=[profile.pk])
            admin.get(f"{preview}?endpoint={endpoint.pk}")
            for command in (["live_push_status"], ["check", "--database", "default"]):
                call_command(*command, stdout=io.StringIO(), stderr=io.StringIO())
            assert len(server.received) == 1
            admin.post(reverse("admin:live_push_clientendpoint_test", args=[endpoint.pk]), {"member": ""})
            assert len(server.received) == 2
    assert doors == {dials, "delivery/resolver.py"}


@pytest.mark.django_db(transaction=True)
def test_a_token_in_the_url_stays_out_of_the_most_talkative_log(caplog: pytest.LogCaptureFixture) -> None:
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        ClientEndpointFactory(url=server.url + "hooks/MarkerInThePath?token=MarkerInTheQuery")
        UserProfileFactory()
        with caplog.at_level(logging.DEBUG):
            run_once("default", threads=1)
        (received,) = server.received
    assert received.path == "/hooks/MarkerInThePath?token=MarkerInTheQuery"
    said = [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")]
    assert any("POST /…" in line for line in said)
    assert [line for line in said if "Marker" in line] == []
