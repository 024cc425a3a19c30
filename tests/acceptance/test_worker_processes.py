"""Workers as an operator starts them: processes of their own that are stopped, stopped twice, and killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from live_push.engines.run import sweep
from live_push.models import Attempt, Delivery, WorkerHeartbeat
from live_push.models.clock import stopped
from live_push.testing.https_server import EndpointServer, Hold
from tests.engines.processes import PATIENCE_SECONDS, eventually, running
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Iterator[EndpointServer]:
    with EndpointServer() as server:
        yield server


def worker(client: EndpointServer) -> Any:
    return running("django", "live_push_worker", "--threads", "4", "-v", "0", live_push=client.settings)


def has_begun_to_stop() -> bool:
    """The worker holds nothing but what is under way."""
    return not Delivery.objects.exclude(lease_token=None).filter(dialled_at=None).exists()


def begin(client: EndpointServer) -> Hold:
    """Three members wait for one slot, and the client thinks about the first."""
    hold = Hold()
    client.behave(hold)
    ClientEndpointFactory(url=client.url, max_in_flight=1)
    UserProfileFactory.create_batch(3)
    return hold


def wait_until_it_holds_more_than_it_sends(client: EndpointServer) -> None:
    client.wait_for(1, timeout=PATIENCE_SECONDS)
    eventually(lambda: Delivery.objects.filter(dialled_at=None).exclude(lease_token=None).exists())


def test_sigterm_finishes_what_is_under_way_and_gives_the_rest_back(client: EndpointServer) -> None:
    hold = begin(client)
    with worker(client) as process:
        wait_until_it_holds_more_than_it_sends(client)
        process.send_signal(signal.SIGTERM)
        eventually(has_begun_to_stop)
        assert process.poll() is None
        hold.release()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert len(client.received) == 1
    assert sorted(Delivery.objects.values_list("status", "attempts_made")) == [
        ("pending", 0),
        ("pending", 0),
        ("succeeded", 1),
    ]
    assert not Delivery.objects.exclude(lease_token=None).exists()
    assert not WorkerHeartbeat.objects.exists()


def test_a_second_sigterm_leaves_at_once_and_loses_nothing(client: EndpointServer) -> None:
    hold = begin(client)
    with worker(client) as process:
        wait_until_it_holds_more_than_it_sends(client)
        process.send_signal(signal.SIGTERM)
        eventually(has_begun_to_stop)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 1
    hold.release()
    assert_another_worker_finishes(client)


def test_a_killed_workers_push_is_sent_again_as_the_same_event(client: EndpointServer) -> None:
    hold = begin(client)
    with worker(client) as process:
        wait_until_it_holds_more_than_it_sends(client)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    hold.release()
    assert_another_worker_finishes(client)


def assert_another_worker_finishes(client: EndpointServer) -> None:
    """Whoever comes when the leases are over finds what was under way, tells it and sends it again."""
    lost = Delivery.objects.exclude(dialled_at=None).get()
    assert (lost.status, lost.attempts_made) == ("sending", 1)
    assert lost.leased_until is not None
    with override_settings(LIVE_PUSH=client.settings):
        with stopped(lost.leased_until + timedelta(seconds=1)):
            sweep("default", engine="once", threads=2)
        lost.refresh_from_db()
        assert (lost.status, lost.last_error_code) == ("pending", "lease_lost")
        with stopped(lost.next_attempt_at + timedelta(seconds=1)):
            sweep("default", engine="once", threads=2)
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}
    log = Attempt.objects.filter(delivery=lost).order_by("number")
    assert [(row.number, row.error_code, row.status_code) for row in log] == [(1, "lease_lost", None), (2, "", 200)]
    event = str(lost.push.event_id)
    again = [received for received in client.received if received.headers["webhook-id"] == event]
    assert [received.headers["live-push-attempt"] for received in again] == ["1", "2"]
    assert len({received.body for received in again}) == 1


def test_a_worker_that_cannot_start_says_why(client: EndpointServer) -> None:
    with running("django", "live_push_worker", "--threads", "0", live_push={}, stderr=subprocess.PIPE) as process:
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert b"needs at least 1" in told
