"""Celery with real brokers and real workers; brokers that are down, or worse."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from live_push import engines
from live_push.figures.status import status
from live_push.models import Delivery, TierEvent, WorkerHeartbeat
from live_push.models.clock import stopped
from live_push.testing.https_server import EndpointServer
from tests.conftest import need
from tests.engines.processes import ROOT, running
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)

ENGINE = "live_push.engines.celery.CeleryEngine"
BROKERS = {"redis": "redis://127.0.0.1:6379/9", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}
HOW_TO_GET_IT = {
    "redis": "Start Redis on 127.0.0.1:6379, such as with `apt-get install redis-server`.",
    "rabbitmq": "Start RabbitMQ on 127.0.0.1:5672, such as with `apt-get install rabbitmq-server`.",
}


@pytest.fixture
def queue() -> str:
    """A queue of this test's own."""
    return f"live_push_tests_{uuid.uuid4().hex}"


@pytest.fixture
def app_of(queue: str) -> Iterator[Any]:
    """Makes the host's Celery app for a broker, current as long as the test lasts."""
    need(find_spec("celery"), "Install Celery: pip install -e '.[celery]'.")
    from celery import _state

    from tests.engines.celery_app import make_app

    before, default = _state._tls.current_app, _state.default_app

    def make(broker: str) -> Any:
        app = make_app(broker, queue)
        app.set_current()
        app.set_default()
        return app

    yield make
    engines.base._load.cache_clear()
    _state._set_current_app(before)
    _state.set_default_app(default)


@pytest.fixture(params=sorted(BROKERS))
def app(request: pytest.FixtureRequest, app_of: Any, queue: str) -> Iterator[Any]:
    """The host's Celery app with a real broker."""
    app = app_of(BROKERS[request.param])
    with app.connection(connect_timeout=2, transport_options={"max_retries": 0}) as connection:
        try:
            connection.connect()
        except connection.connection_errors:
            need(False, HOW_TO_GET_IT[request.param])
        yield app
        connection.default_channel.queue_delete(queue)


@pytest.fixture
def client() -> Iterator[EndpointServer]:
    with EndpointServer() as server:
        yield server


def worker(app: Any, client: EndpointServer, *arguments: str) -> Any:
    """A Celery worker as the documentation starts it."""
    return running(
        *("celery", "--quiet", "-A", "tests.engines.celery_app", "worker", "--concurrency", "1", "--loglevel", "ERROR"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        # RabbitMQ gives the name's control queue to one worker only, and other tests start theirs at the same time.
        *("--hostname", f"{app.conf.task_default_queue}@%h"),
        *arguments,
        live_push={**client.settings, "ENGINE": ENGINE},
        LIVE_PUSH_TEST_BROKER=app.conf.broker_url,
        LIVE_PUSH_TEST_QUEUE=app.conf.task_default_queue,
    )


def finish() -> bool:
    """Wait until the engine in force has sent its hints."""
    return engines.current_engine()._waker.finish(10)


def test_a_commit_wakes_a_worker(app: Any, client: EndpointServer) -> None:
    with worker(app, client), override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        ClientEndpointFactory(url=client.url)
        profile = UserProfileFactory()
        (received,) = client.wait_for(1, timeout=60)
        assert received.json()["id"] == profile.pk


def test_the_sweep_delivers_what_no_wake_up_was_received_for(app: Any, client: EndpointServer, tmp_path: Path) -> None:
    ClientEndpointFactory(url=client.url)
    profile = UserProfileFactory()
    with worker(app, client, "--beat", "--schedule", str(tmp_path / "schedule")):
        (received,) = client.wait_for(1, timeout=60)
    assert received.json()["id"] == profile.pk
    assert WorkerHeartbeat.objects.get().engine == "celery"
    assert status(using="default").worker_seen


def test_beat_runs_the_clock_of_the_tiers_in_place_of_cron(app: Any, client: EndpointServer, tmp_path: Path) -> None:
    TierProgramFactory(timeframe="rolling", length=1)
    with stopped(datetime(2020, 1, 31, tzinfo=UTC)):
        profile = UserProfileFactory()
    ClientEndpointFactory(url=client.url)
    with worker(app, client, "--beat", "--schedule", str(tmp_path / "schedule")):
        (received,) = client.wait_for(1, timeout=60)
    assert received.json()["tierInfo"]["assignedByEvent"] == "maintain"
    first = TierEvent.objects.filter(profile=profile, cause="clock").earliest("pk")
    assert first.due_at == datetime(2020, 2, 29, tzinfo=UTC)


def test_a_message_carries_the_name_of_the_database_and_nothing_of_the_member(app: Any, queue: str) -> None:
    ClientEndpointFactory(basic=True)
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        profile = UserProfileFactory()
        assert finish()
    with app.connection() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
    arguments, named, _embedded = json.loads(message.body)
    assert (arguments, named) == (["default"], {})
    whole = repr((message.body, message.headers, message.properties))
    for private in (profile.email_address, profile.last_name, "password123"):
        assert private not in whole
    # Its retries and delays are never used.
    assert (message.headers["retries"], message.headers["eta"]) == (0, None)


def save_and_time() -> float:
    """The slowest of twenty saves, in seconds."""
    slowest = 0.0
    for _ in range(20):
        started = time.monotonic()
        UserProfileFactory()
        slowest = max(slowest, time.monotonic() - started)
    return slowest


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_no_save_waits_for_a_broker_that_is_down(app_of: Any, scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    app_of(f"{scheme}://127.0.0.1:{port}//")
    ClientEndpointFactory()
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        assert save_and_time() < 2
        assert finish()
    assert Delivery.objects.filter(status="pending").count() == 20


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_no_save_waits_for_a_broker_that_accepts_and_never_answers(app_of: Any, scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute, override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        app_of(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}//")
        ClientEndpointFactory()
        assert save_and_time() < 2
        engine = engines.current_engine()
        assert engine._waker.finish(60)
        assert engine._waker._bad_until > time.monotonic()
        assert _connections_to(mute) > 0
        # Known to be bad, it is not even tried.
        assert save_and_time() < 2
        assert engine._waker.finish(0)
        assert _connections_to(mute) == 0
    assert Delivery.objects.filter(status="pending").count() == 40


def _connections_to(listener: socket.socket) -> int:
    listener.setblocking(False)
    count = 0
    while True:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return count
        accepted.close()
        count += 1


def test_a_doubled_task_does_nothing(app_of: Any, client: EndpointServer) -> None:
    app_of("memory://")
    from live_push.tasks import look, sweep

    ClientEndpointFactory(url=client.url)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=client.settings):
        assert [look("default"), look("default"), sweep()] == [1, 0, 0]
    assert len(client.received) == 1


def test_the_sweep_frees_what_a_dead_worker_held(app_of: Any, client: EndpointServer) -> None:
    app_of("memory://")
    from live_push.tasks import sweep

    ClientEndpointFactory(url=client.url)
    profile = UserProfileFactory()
    Delivery.objects.update(
        status="sending", next_attempt_at=None, lease_token=uuid.uuid4(), leased_until=profile.date_created
    )
    with override_settings(LIVE_PUSH=client.settings):
        assert sweep() == 1


def test_eager_tasks_do_not_push_inside_the_save(app_of: Any, client: EndpointServer) -> None:
    app_of("memory://").conf.task_always_eager = True
    ClientEndpointFactory(url=client.url)
    with override_settings(LIVE_PUSH={**client.settings, "ENGINE": ENGINE}):
        UserProfileFactory()
        assert finish()
    assert client.received == []


def checked() -> list[str]:
    """The ids of what the engine complains about."""
    with override_settings(LIVE_PUSH={"ENGINE": ENGINE}):
        return [message.id for message in engines.current_engine().check()]


def test_a_host_as_documented_has_nothing_to_complain_about(app_of: Any) -> None:
    app_of("memory://")
    assert checked() == []


def test_a_missing_celery_app_is_reported(app_of: Any) -> None:
    from celery import Celery

    bare = Celery("default")
    bare.set_current()
    assert checked() == ["live_push.E007"]


def test_a_missing_sweep_is_reported(app_of: Any) -> None:
    app_of("memory://").conf.beat_schedule = {}
    assert checked() == ["live_push.W003"]


def test_a_schedule_that_lives_elsewhere_is_trusted(app_of: Any) -> None:
    app_of("memory://").conf.update(beat_schedule={}, beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler")
    assert checked() == []


def test_eager_tasks_are_reported(app_of: Any) -> None:
    app_of("memory://").conf.task_always_eager = True
    assert checked() == ["live_push.W004"]


def test_the_hints_of_the_checks_are_what_the_documentation_says() -> None:
    need(find_spec("celery"), "Install Celery: pip install -e '.[celery]'.")
    from live_push.engines.celery import BEAT_HINT

    assert "live_push.sweep" in BEAT_HINT
    assert BEAT_HINT in (ROOT / "docs/engines.md").read_text()
