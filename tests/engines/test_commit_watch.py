"""On SQLite an idle worker notices the commits of other connections."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from django.db import connection
from django.test import override_settings

from live_push.engines import worker
from live_push.engines.commit_watch import CommitWatch
from live_push.models import Delivery
from live_push.rules.result import Result
from tests.engines.processes import eventually
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport, statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="The count of commits is SQLite's."),
]


def commit_elsewhere(city: str) -> None:
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        # SQLite does not count a commit that changes nothing.
        other.execute("UPDATE live_push_userprofile SET city = ?", [city])
        other.commit()


def test_a_commit_of_another_connection_is_seen_once() -> None:
    UserProfileFactory()
    watch = CommitWatch("default")
    assert not watch.saw_commit()
    commit_elsewhere("Wien")
    assert watch.saw_commit()
    assert not watch.saw_commit()


def test_own_commits_are_not_seen() -> None:
    watch = CommitWatch("default")
    watch.saw_commit()
    UserProfileFactory()
    assert not watch.saw_commit()


def test_looking_is_not_logged_as_a_statement() -> None:
    assert statements(CommitWatch("default").saw_commit) == []


def test_a_new_connection_begins_anew() -> None:
    UserProfileFactory()
    watch = CommitWatch("default")
    watch.saw_commit()
    connection.close()
    commit_elsewhere("Graz")
    assert not watch.saw_commit()
    commit_elsewhere("Linz")
    assert watch.saw_commit()


def test_an_idle_worker_sends_what_another_process_recorded_before_its_next_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_polling = threading.Event()

    def answer(request: object) -> Result:
        return OK

    def first_poll(loop: worker.WorkerLoop, now: float) -> float:
        is_polling.set()
        # No poll finds anything within the test's patience.
        return 3600.0

    monkeypatch.setattr(worker, "make_transport", lambda: ScriptedTransport(answer))
    monkeypatch.setattr(worker.WorkerLoop, "_poll_seconds", first_poll)
    ClientEndpointFactory()
    loop = worker.WorkerLoop(using="default", threads=2)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        assert is_polling.wait(30)
        # Nothing wakes the loop, as if another process had recorded the push.
        with override_settings(LIVE_PUSH={"ENGINE": "live_push.engines.manual.ManualEngine"}):
            UserProfileFactory()
        eventually(lambda: Delivery.objects.get().status == "succeeded")
    finally:
        loop.stop()
        thread.join(30)
