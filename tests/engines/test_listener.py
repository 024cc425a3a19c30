"""On PostgreSQL the recording of a push notifies sleeping workers, and nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

from live_push.engines import listener as module
from live_push.engines import worker
from live_push.engines.listener import SILENT_AFTER_SECONDS
from live_push.models import Delivery, UserProfile, WorkerHeartbeat
from live_push.models.clock import db_now
from live_push.outbox.notify import ASLEEP_FOR_SECONDS, CHANNEL
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections
from tests.support import ScriptedTransport, statements

from .played_loop import PlayedLoop

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Only PostgreSQL notifies."),
]

HOST = "host"
MANUAL = {"ENGINE": "live_push.engines.manual.ManualEngine"}
"""With this engine a commit of this process wakes no worker, like one of another process."""


@pytest.fixture(autouse=True)
def _endpoint() -> Iterator[None]:
    with further_connections(HOST), override_settings(LIVE_PUSH=MANUAL):
        ClientEndpointFactory()
        yield


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLoop]:
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    monkeypatch.setattr(worker, "MOST_BACK_OFF_SECONDS", 0)
    made = PlayedLoop()
    yield made
    made.stop()
    made.run()


@pytest.fixture
def asleep(loop: PlayedLoop) -> PlayedLoop:
    loop.listen()
    loop.play(5)
    assert WorkerHeartbeat.objects.get().is_asleep
    return loop


def is_asleep() -> bool:
    return WorkerHeartbeat.objects.get().is_asleep


def change(using: str = "default") -> None:
    """A save of a host."""
    profile = UserProfile.objects.using(using).first() or UserProfileFactory.build()
    profile.city = f"{profile.city}."
    profile.save(using=using)


def play_until_sent(loop: PlayedLoop, number: int) -> None:
    while Delivery.objects.filter(status="succeeded").count() < number:
        loop.play(0.01)


@contextmanager
def notifications() -> Iterator[list[str]]:
    """What was notified in the block, by its payload."""
    found: list[str] = []
    with connections[HOST].cursor() as cursor:
        cursor.execute(f"LISTEN {CHANNEL}")
        yield found
        # Notifications arrive in the order of their commits, so this one is the last.
        with connection.cursor() as other:
            other.execute("SELECT PG_NOTIFY(%s, 'end')", [CHANNEL])
        driver: Any = connections[HOST].connection
        while "end" not in found:
            found += [notification.payload for notification in driver.notifies(timeout=30, stop_after=1)]
        found.remove("end")
        cursor.execute(f"UNLISTEN {CHANNEL}")


class TestASave:
    def heartbeat(self, **more: Any) -> None:
        moment = db_now("default") - timedelta(seconds=more.pop("age", 0))
        WorkerHeartbeat.objects.create(name="w", engine="worker", started_at=moment, seen_at=moment, **more)

    def test_notifies_nobody_where_no_worker_runs(self) -> None:
        with notifications() as found:
            change()
        assert found == []

    def test_notifies_nobody_while_all_workers_are_awake(self) -> None:
        self.heartbeat()
        with notifications() as found:
            change()
        assert found == []

    def test_notifies_a_worker_that_sleeps(self) -> None:
        self.heartbeat(is_asleep=True)
        with notifications() as found:
            change()
        assert found == [""]

    def test_notifies_at_the_commit_and_once(self) -> None:
        self.heartbeat(is_asleep=True)
        with notifications() as found, transaction.atomic():
            UserProfileFactory.create_batch(3)
            assert found == []
        assert found == [""]

    def test_that_is_rolled_back_notifies_nobody(self) -> None:
        self.heartbeat(is_asleep=True)
        with notifications() as found, transaction.atomic():
            change()
            transaction.set_rollback(True)
        assert found == []

    def test_notifies_no_dead_worker(self) -> None:
        self.heartbeat(is_asleep=True, age=ASLEEP_FOR_SECONDS)
        with notifications() as found:
            change()
        assert found == []

    def test_notifies_nobody_where_the_project_uses_two_phase_commit(self) -> None:
        """``PREPARE TRANSACTION`` fails in a transaction that has notified."""
        self.heartbeat(is_asleep=True)
        with override_settings(LIVE_PUSH={**MANUAL, "NOTIFY_WORKERS": False}), notifications() as found:
            assert not [sql for sql in statements(change) if "notify" in sql.lower()]
        assert found == []
        assert Delivery.objects.count() == 1


class TestASleepingWorker:
    def test_is_woken_by_a_save(self, asleep: PlayedLoop) -> None:
        change()
        asleep.wait_really()
        play_until_sent(asleep, 1)
        assert not is_asleep()

    def test_is_woken_by_a_commit_of_its_own_process(self, asleep: PlayedLoop) -> None:
        asleep.wake()
        asleep.wait_really()
        asleep.play(0.01)
        assert not is_asleep()

    def test_is_woken_by_the_commit_of_another_thread(self, asleep: PlayedLoop) -> None:
        thread = threading.Thread(target=asleep.wake)
        thread.start()
        asleep.wait_really()
        thread.join(30)
        assert asleep._is_hinted

    def test_falls_asleep_again(self, asleep: PlayedLoop) -> None:
        change()
        asleep.wait_really()
        play_until_sent(asleep, 1)
        asleep.play(1.5)
        assert is_asleep()

    def test_that_is_woken_in_vain_stays_awake_for_a_second(self, asleep: PlayedLoop) -> None:
        """Another worker sends what was recorded. Without this, each save would have to notify this one."""
        asleep.wake()
        asleep.play(0.9)
        assert not is_asleep()
        asleep.play(0.5)
        assert is_asleep()

    def test_finds_a_commit_that_could_not_see_that_it_sleeps(self, loop: PlayedLoop) -> None:
        loop.listen()
        loop.wake()
        loop.play(0.02)
        assert not is_asleep()
        with notifications() as found:
            with transaction.atomic(using=HOST):
                change(HOST)
                while not is_asleep():
                    loop.play(0.01)
                since = loop.now
            play_until_sent(loop, 1)
            assert loop.now - since < 0.06
        assert [payload for payload in found if not payload] == []

    def test_polls_soon_after_it_fell_asleep_and_then_once_a_second(self, loop: PlayedLoop) -> None:
        loop.listen()
        while not (WorkerHeartbeat.objects.exists() and is_asleep()):
            loop.play(0.001)
        loop.waits[:-1] = []
        loop.play(2.5)
        assert [round(seconds, 3) for seconds in loop.waits[:4]] == [0.01, 0.04, 0.15, 1.0]

    def test_does_not_sleep_while_a_delivery_is_due(self, loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop.pipeline, "_claim", lambda **arguments: 0)
        loop.listen()
        change()
        loop.play(10)
        assert not is_asleep()

    def test_notices_that_its_connection_is_lost(self, asleep: PlayedLoop, caplog: pytest.LogCaptureFixture) -> None:
        driver: Any = connection.connection
        with connections[HOST].cursor() as cursor:
            cursor.execute("SELECT PG_TERMINATE_BACKEND(%s)", [driver.info.backend_pid])
        asleep.wait_really()
        assert not asleep._run_guarded(asleep._turn)
        change(HOST)
        asleep.listen()
        play_until_sent(asleep, 1)
        asleep.play(5)
        assert is_asleep()
        change(HOST)
        asleep.wait_really()
        play_until_sent(asleep, 2)

    def test_that_ends_listens_no_more(self, asleep: PlayedLoop) -> None:
        asleep.listener.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM PG_LISTENING_CHANNELS()")
            assert cursor.fetchall() == []


class TestAPoolerThatDeliversNoNotification:
    """It accepts LISTEN, on a connection that the worker has for one transaction only."""

    @pytest.fixture(autouse=True)
    def _pooler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_notify", lambda using, payload: None)

    def test_makes_the_worker_poll(self, loop: PlayedLoop) -> None:
        loop.listen()
        loop.play(20)
        assert not is_asleep()
        loop.waits.clear()
        loop.play(10)
        assert max(loop.waits) <= worker.DUE_WATCH_SECONDS
        change()
        before = loop.now
        play_until_sent(loop, 1)
        assert loop.now - before < 0.2

    def test_is_logged_once(self, loop: PlayedLoop, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            loop.listen()
            loop.play(SILENT_AFTER_SECONDS - 1)
            assert caplog.records == []
            loop.play(20)
            connection.close()
            loop.play(20)
        (record,) = caplog.records
        assert "own notification does not arrive" in record.getMessage()


def test_a_worker_of_a_project_with_two_phase_commit_does_not_listen(loop: PlayedLoop) -> None:
    with override_settings(LIVE_PUSH={**MANUAL, "NOTIFY_WORKERS": False}):
        loop.listen()
        loop.play(5)
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM PG_LISTENING_CHANNELS()")
            assert cursor.fetchall() == []
        assert not is_asleep()
        assert loop.listener.file_descriptor() is None


def test_a_server_that_refuses_to_listen_makes_the_worker_poll(
    loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CHANNEL", "no channel")
    with caplog.at_level(logging.INFO):
        loop.listen()
        loop.play(20)
    assert [record.message for record in caplog.records] == [
        "PostgreSQL refuses LISTEN (ProgrammingError), so the worker polls."
    ]
    assert not is_asleep()


def test_a_worker_without_a_second_connection_polls(loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.threading, "Thread", NoThread)
    loop.listen()
    loop.play(5)
    assert not is_asleep()


def test_a_notification_that_comes_with_an_answer_is_not_lost(asleep: PlayedLoop) -> None:
    with connections[HOST].cursor() as cursor:
        cursor.execute("SELECT PG_NOTIFY(%s, '')", [CHANNEL])
    WorkerHeartbeat.objects.count()
    asleep.wait_really()
    assert asleep._is_hinted
