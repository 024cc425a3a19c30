"""What a worker without work costs, and how long it waits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from live_push.engines import worker
from live_push.models import Delivery, WorkerHeartbeat
from live_push.models.clock import db_now, stopped
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, ScriptedTransport, statements

from .played_loop import PlayedLoop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLoop]:
    monkeypatch.setattr(worker, "make_transport", ScriptedTransport)
    ClientEndpointFactory()
    made = PlayedLoop()
    yield made
    made.stop()
    made.run()


def kinds(sql: list[str]) -> Counter[str]:
    names = {
        "look": r"SELECT .*first_due",
        "heartbeat": r"UPDATE .*live_push_workerheartbeat",
        "chores": r"SELECT \(SELECT COUNT",
    }
    return Counter(
        next((name for name, pattern in names.items() if re.match(pattern, text.strip(), re.DOTALL)), text)
        for text in sql
    )


@pytest.mark.parametrize("notified", [True, False])
def test_an_idle_minute_costs_few_statements(loop: PlayedLoop, notified: bool) -> None:
    with override_settings(LIVE_PUSH={"NOTIFY_WORKERS": notified}):
        loop.listen()
    loop.play(20)
    watched = loop.count_watching()
    counts = kinds(statements(lambda: loop.play(60)))
    assert set(counts) == {"look", "heartbeat", "chores"}
    assert counts["heartbeat"] == counts["chores"] == 12
    assert 55 <= counts["look"] <= 60
    if connection.vendor == "sqlite":
        # Each takes a few microseconds.
        assert watched.pop("commit") <= 2400
    elif connection.vendor == "mysql" or not notified:
        assert watched.pop("due") <= 750
    assert not watched


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Only on SQLite a worker looks for commits.")
def test_a_long_silence_makes_a_worker_look_less_often_for_commits(loop: PlayedLoop) -> None:
    loop._last_busy = loop.now
    loop.play(10)
    watched = loop.count_watching()
    loop.play(10)
    assert 380 <= watched["commit"] <= 400
    loop.play(120)
    # A commit that records nothing is not work.
    loop.wake()
    watched.clear()
    loop.play(10)
    assert 180 <= watched["commit"] <= 200


def test_a_retry_starts_on_time_however_rarely_the_worker_polls(
    loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.listen()
    loop.play(20)
    monkeypatch.setattr(loop, "_poll_seconds", lambda now: 1.0)
    loop.waits.clear()
    loop.wake()
    with stopped(START):
        UserProfileFactory()
        Delivery.objects.update(next_attempt_at=START + timedelta(seconds=0.4))
        loop.play(0.1)
    assert sum(loop.waits) == pytest.approx(0.4, abs=0.001)
    with stopped(START + timedelta(seconds=0.4)):
        loop._turn()
    assert Delivery.objects.get().status != "pending"


def test_what_a_dead_worker_held_is_released_within_a_second(loop: PlayedLoop) -> None:
    with stopped(START):
        loop.play(7)
        UserProfileFactory()
        assert claim(ClaimRequest(name="dead"), using="default")
        loop.play(7)
        assert Delivery.objects.get().claimed_by == "dead"
    with stopped(START + timedelta(seconds=60.1)):
        loop.play(1.1)
    assert Delivery.objects.get().claimed_by == loop.name


def test_nothing_is_released_while_no_delivery_is_held(loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.play(7)

    def release_stalled(**arguments: object) -> int:
        raise AssertionError("There is nothing to release.")

    monkeypatch.setattr(worker.release, "release_stalled", release_stalled)
    loop.play(7)


def test_the_heartbeat_of_an_idle_worker_stays_fresh(loop: PlayedLoop) -> None:
    loop.play(6)
    WorkerHeartbeat.objects.update(seen_at=START)
    loop.play(5)
    assert WorkerHeartbeat.objects.get().seen_at > db_now("default") - timedelta(minutes=5)


def test_what_is_due_but_can_not_be_claimed_is_polled_for_and_not_looked_at_all_the_time(
    loop: PlayedLoop, settings: Any
) -> None:
    ClientEndpointFactory(auth_method="api_key", api_key="the key of a client")
    settings.SECRET_KEY = "another key, under which no secret can be read"
    UserProfileFactory()
    loop.play(120)
    claims = [sql for sql in statements(lambda: loop.play(60)) if "live_push_endpointhealth" in sql and "UPDATE" in sql]
    assert len(claims) <= 61
