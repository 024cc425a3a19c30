"""On PostgreSQL and MariaDB a worker that nobody notifies looks for due deliveries."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings

from live_push.engines import worker
from live_push.engines.due_watch import DueWatch
from live_push.models import Delivery, EndpointHealth
from live_push.models.clock import db_now, stopped
from tests.engines.processes import eventually
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, ScriptedTransport, statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="On SQLite a worker looks for commits."),
]


def test_a_due_delivery_is_seen_until_it_is_claimed() -> None:
    watch = DueWatch("default")
    assert not watch.sees_due()
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    assert watch.sees_due()
    EndpointHealth.objects.filter(pk=endpoint.pk).update(rests_until=db_now("default") + timedelta(hours=1))
    assert not watch.sees_due()


def test_it_is_not_seen_before_it_is_due() -> None:
    watch = DueWatch("default")
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        assert watch.sees_due()
    with stopped(START - timedelta(seconds=1)):
        assert not watch.sees_due()
    assert watch.sees_due()


def test_looking_is_not_logged_as_a_statement() -> None:
    assert statements(DueWatch("default").sees_due) == []


def test_a_new_connection_is_looked_through_like_the_old_one() -> None:
    watch = DueWatch("default")
    ClientEndpointFactory()
    UserProfileFactory()
    watch.sees_due()
    connection.close()
    assert watch.sees_due()


def test_an_idle_worker_sends_what_another_process_recorded_before_its_next_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_polling = threading.Event()

    def first_poll(loop: worker.WorkerLoop, now: float) -> float:
        is_polling.set()
        # No poll finds anything within the test's patience.
        return 3600.0

    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    monkeypatch.setattr(worker.WorkerLoop, "_poll_seconds", first_poll)
    ClientEndpointFactory()
    # Nothing wakes or notifies the loop, as if another process had recorded the push.
    manual = {"ENGINE": "live_push.engines.manual.ManualEngine", "NOTIFY_WORKERS": False}
    with override_settings(LIVE_PUSH=manual):
        loop = worker.WorkerLoop(using="default", threads=2)
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            assert is_polling.wait(30)
            UserProfileFactory()
            eventually(lambda: Delivery.objects.get().status == "succeeded")
        finally:
            loop.stop()
            thread.join(30)
