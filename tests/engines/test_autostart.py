"""The worker in the web process: begins with a development server, elsewhere with the first request or commit."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.core.signals import request_started
from django.db import connection
from django.test import override_settings

from live_push.engines import autostart
from live_push.models import WorkerHeartbeat
from live_push.testing.https_server import EndpointServer
from tests.engines.processes import eventually, running
from tests.factories import ClientEndpointFactory, UserProfileFactory


class Loop:
    """Stands for the worker's loop: notes that it was started."""

    started: list[dict[str, Any]] = []
    ran = threading.Event()

    def __init__(self, **arguments: Any) -> None:
        self.started.append(arguments)

    def run(self) -> None:
        self.ran.set()


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The loops that were started, in what looks like a web server's process."""
    Loop.started.clear()
    Loop.ran.clear()
    monkeypatch.setattr(autostart, "WorkerLoop", Loop)
    monkeypatch.setattr(autostart, "_started", {})
    monkeypatch.setattr(sys, "argv", ["/srv/.venv/bin/gunicorn", "shop.wsgi"])
    monkeypatch.delattr(mail, "outbox")
    yield Loop.started
    for thread in threading.enumerate():
        if thread.name == "live_push-autostart":
            thread.join(10)


WANTED = override_settings(LIVE_PUSH={"AUTOSTART_WORKER": True})


@WANTED
def test_the_first_request_starts_it_and_no_other_does(loops: list[dict[str, Any]]) -> None:
    for _ in range(3):
        request_started.send(sender=None)
    assert Loop.ran.wait(10)
    assert loops == [{"using": "default", "engine": "autostart"}]


@WANTED
@pytest.mark.django_db(transaction=True)
def test_the_first_commit_starts_it_too(loops: list[dict[str, Any]]) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    assert Loop.ran.wait(10)
    assert len(loops) == 1


@pytest.mark.parametrize(
    ("wanted", "debug", "starts"),
    [
        pytest.param(None, True, True, id="by default while developing"),
        pytest.param(None, False, False, id="by default not in production"),
        pytest.param(True, False, True, id="in production where the setting says so"),
        pytest.param(False, True, False, id="not while developing where the setting says so"),
    ],
)
def test_the_setting_decides(loops: list[dict[str, Any]], wanted: bool | None, debug: bool, starts: bool) -> None:
    with override_settings(LIVE_PUSH={"AUTOSTART_WORKER": wanted}, DEBUG=debug):
        request_started.send(sender=None)
    assert bool(loops) == starts


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        pytest.param(["manage.py", "runserver"], True, id="the development server"),
        pytest.param(["/srv/shop/manage.py", "runserver", "8000"], True, id="with its path and port"),
        pytest.param(["/lib/django/__main__.py", "runserver"], True, id="by python -m django"),
        pytest.param(["manage.py", "runserver_plus"], True, id="the one of django-extensions"),
        pytest.param([], True, id="an interpreter inside a web server"),
        pytest.param(["manage.py", "migrate"], False, id="a migration"),
        pytest.param(["manage.py"], False, id="no command"),
        pytest.param(["/usr/bin/django-admin", "shell"], False, id="a shell"),
        pytest.param(["manage.py", "live_push_worker", "runserver"], False, id="the word is not enough"),
        pytest.param(["/usr/bin/uwsgi", "--ini", "shop.ini"], True, id="a web server"),
    ],
)
@WANTED
def test_no_management_command_starts_it(
    loops: list[dict[str, Any]], arguments: list[str], starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    request_started.send(sender=None)
    assert bool(loops) == starts


@WANTED
def test_no_test_starts_it(loops: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    # As Django's test runner leaves it.
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    request_started.send(sender=None)
    assert loops == []


@pytest.mark.parametrize("engine", ["manual.ManualEngine", "base.Engine"])
def test_no_other_engine_gets_it(loops: list[dict[str, Any]], engine: str) -> None:
    with override_settings(LIVE_PUSH={"AUTOSTART_WORKER": True, "ENGINE": f"live_push.engines.{engine}"}):
        request_started.send(sender=None)
    assert loops == []


@WANTED
def test_a_forked_process_starts_its_own(loops: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    request_started.send(sender=None)
    monkeypatch.setattr(autostart.os, "getpid", lambda: -1)
    request_started.send(sender=None)
    assert len(loops) == 2


@WANTED
@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"SECRET_KEYS": "a text"}, {"ENGINE": "nowhere.Engine"}], ids=["value", "path"])
def test_a_page_of_the_hosts_is_served_although_our_settings_are_wrong(
    loops: list[dict[str, Any]], wrong: dict[str, Any]
) -> None:
    with override_settings(LIVE_PUSH={"AUTOSTART_WORKER": True, **wrong}):
        request_started.send(sender=None)
    assert loops == []


def test_setting_the_project_up_starts_nothing(loops: list[dict[str, Any]], django_db_blocker: Any) -> None:
    # Django's own checks ask the database what it can do. From Django 6.1 on they ask each that they are not kept from.
    with django_db_blocker.unblock(), closing(connection):
        call_command("check", databases=["default"])
    assert loops == []


@pytest.mark.parametrize(
    ("arguments", "child", "starts"),
    [
        pytest.param(["manage.py", "runserver"], "RUN_MAIN", True, id="the process that serves"),
        pytest.param(["manage.py", "runserver"], "", False, id="not the one that restarts it"),
        pytest.param(["manage.py", "runserver", "--noreload"], "", True, id="the only one"),
        pytest.param(["manage.py", "runserver_plus"], "WERKZEUG_RUN_MAIN", True, id="the one of django-extensions"),
        pytest.param(["manage.py", "shell"], "RUN_MAIN", False, id="not a shell"),
        pytest.param(["/usr/bin/gunicorn", "shop.wsgi"], "RUN_MAIN", False, id="not another web server"),
        pytest.param([], "", False, id="not an interpreter inside one"),
    ],
)
@WANTED
def test_a_development_server_starts_it_before_its_first_request(
    loops: list[dict[str, Any]], arguments: list[str], child: str, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    for name in ("RUN_MAIN", "WERKZEUG_RUN_MAIN"):
        monkeypatch.setenv(name, "true" if name == child else "")
    autostart.start_with_server()
    for thread in threading.enumerate():
        if thread.name == "live_push-starting":
            thread.join(10)
    assert bool(loops) == starts


@pytest.mark.parametrize("wrong", [{"SECRET_KEYS": "a text"}, {"ENGINE": "nowhere.Engine"}], ids=["value", "path"])
def test_a_development_server_comes_up_although_our_settings_are_wrong(
    loops: list[dict[str, Any]], wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", "runserver", "--noreload"])
    with override_settings(LIVE_PUSH={"AUTOSTART_WORKER": True, **wrong}):
        autostart._start_when_ready()
    assert loops == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("options", [["--noreload"], []], ids=["without its reloader", "with it"])
def test_the_development_server_delivers_what_a_shell_saves_before_its_first_request(options: list[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    save = "from live_push.models import UserProfile; UserProfile.objects.create(first_name='Ada')"
    with EndpointServer() as client:
        ClientEndpointFactory(url=client.url)
        live_push = {**client.settings, "AUTOSTART_WORKER": True}
        with running("django", "runserver", *options, "--skip-checks", f"127.0.0.1:{port}", live_push=live_push):
            eventually(WorkerHeartbeat.objects.exists)
            with running("django", "shell", "--command", save, live_push=live_push):
                (received,) = client.wait_for(1, timeout=30)
            assert WorkerHeartbeat.objects.get().engine == "autostart"
    assert received.json()["firstName"] == "Ada"


@pytest.mark.django_db(transaction=True)
def test_a_forked_process_is_not_woken_by_its_parents_loop_but_by_its_own() -> None:
    with EndpointServer() as client:
        ClientEndpointFactory(url=client.url)
        with running("tests.engines.forking", live_push={**client.settings, "AUTOSTART_WORKER": True}) as parent:
            # The child saves the second member once the first save has returned.
            received = client.wait_for(3, timeout=60)
            # The parent's loop has ended and taken its heartbeat along.
            eventually(lambda: WorkerHeartbeat.objects.exclude(name__contains=f"-{parent.pid}-").count() == 1)
            eventually(lambda: not WorkerHeartbeat.objects.filter(name__contains=f"-{parent.pid}-").exists())
    names = sorted(request.json()["firstName"] for request in received)
    assert names == ["Saved by the child", "Saved by the child", "Saved by the parent"]


@WANTED
def test_where_no_thread_can_be_started_the_next_request_tries_again(
    loops: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        request_started.send(sender=None)
    assert "No thread can be started" in caplog.text
    request_started.send(sender=None)
    assert Loop.ran.wait(10)
