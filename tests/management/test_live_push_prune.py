"""The command that prunes: what it keeps, what it says, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, EndpointHour, Push, WorkerHeartbeat
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def log() -> Iterator[None]:
    """One succeeded, one failed and one cancelled delivery of ``START``, and one that waits."""
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(OK)
        UserProfileFactory()
        deliver(status(413))
        profile = UserProfileFactory()
        deliver(status(500))
        profile.save()
    with stopped(START + timedelta(minutes=1)):
        deliver(status(500))
    assert sorted(Delivery.objects.values_list("status", flat=True)) == ["cancelled", "failed", "pending", "succeeded"]
    return


def prune(*arguments: str, days: float = 0) -> Any:
    """Run the command so many days after ``START``; returns its summary."""
    out = StringIO()
    with stopped(START + timedelta(days=days)):
        call_command("live_push_prune", "--json", *arguments, stdout=out, stderr=StringIO())
    return json.loads(out.getvalue())


def left() -> list[str]:
    return sorted(Delivery.objects.values_list("status", flat=True))


@pytest.mark.parametrize(
    ("days", "stays"),
    [
        pytest.param(6.9, ["cancelled", "failed", "pending", "succeeded"], id="nothing within a week"),
        pytest.param(7.1, ["cancelled", "failed", "pending"], id="successes go after 7 days"),
        pytest.param(89.9, ["cancelled", "failed", "pending"], id="failures stay for 90"),
        pytest.param(90.1, ["pending"], id="then they go, cancelled ones too"),
        pytest.param(5000, ["pending"], id="what waits stays for ever"),
    ],
)
@pytest.mark.usefixtures("log")
def test_each_kind_has_its_time(days: float, stays: list[str]) -> None:
    prune(days=days)
    assert left() == stays


@pytest.mark.usefixtures("log")
def test_the_settings_say_how_long() -> None:
    with override_settings(LIVE_PUSH={"RETENTION_SUCCEEDED_DAYS": 400, "RETENTION_FAILED_DAYS": 1}):
        prune(days=2)
    assert left() == ["pending", "succeeded"]


@pytest.mark.usefixtures("log")
def test_the_summary_counts_what_went() -> None:
    assert prune(days=91) == {
        "dry_run": False,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 1,
        "pushes": 3,
        "bodies": 0,
        "heartbeats": 0,
        "hours": 3,
    }


@pytest.mark.usefixtures("log")
def test_a_second_run_finds_nothing_more() -> None:
    prune(days=91)
    assert not any(prune(days=91).values())


@pytest.mark.usefixtures("log")
def test_a_dry_run_counts_and_deletes_nothing() -> None:
    summary = prune("--dry-run", "--bodies-after", "0", days=8)
    assert (summary["dry_run"], summary["succeeded"], summary["failed"]) == (True, 1, 0)
    assert len(left()) == 4
    assert not Push.objects.filter(payload=None).exists()


@pytest.mark.usefixtures("log")
def test_a_dry_run_says_so_in_words() -> None:
    out = StringIO()
    call_command("live_push_prune", "--dry-run", stdout=out)
    assert "dry run, nothing deleted" in out.getvalue()


@pytest.mark.usefixtures("log")
def test_bodies_can_go_earlier_than_rows() -> None:
    assert prune("--bodies-after", "2", days=3)["bodies"] == 3
    assert len(left()) == 4
    assert Push.objects.get(payload__isnull=False).deliveries.get().status == "pending"


@pytest.mark.parametrize(
    ("settings", "days", "without"),
    [
        pytest.param({"RETENTION_SUCCEEDED_BODIES_DAYS": 2}, 1.9, [], id="not yet"),
        pytest.param({"RETENTION_SUCCEEDED_BODIES_DAYS": 2}, 3, ["succeeded"], id="successes"),
        pytest.param({"RETENTION_SUCCEEDED_BODIES_DAYS": 0}, 0.1, ["succeeded"], id="successes at once"),
        pytest.param({"RETENTION_FAILED_BODIES_DAYS": 2}, 3, ["cancelled", "failed"], id="failures"),
        pytest.param(
            {"RETENTION_SUCCEEDED_BODIES_DAYS": 2, "RETENTION_FAILED_BODIES_DAYS": 14}, 6, ["succeeded"], id="each"
        ),
    ],
)
@pytest.mark.usefixtures("log")
def test_the_settings_say_how_long_bodies_stay(settings: dict[str, int], days: float, without: list[str]) -> None:
    with override_settings(LIVE_PUSH=settings):
        prune(days=days)
    empty = Delivery.objects.filter(push__payload=None)
    assert sorted(empty.values_list("status", flat=True)) == without
    assert not Attempt.objects.filter(delivery__in=empty, answer__isnull=False).exists()
    assert len(left()) == 4


def test_a_body_stays_until_the_last_of_its_deliveries_lets_it_go() -> None:
    ClientEndpointFactory.create_batch(2)
    with stopped(START):
        UserProfileFactory()
        deliver(OK, status(413))
    keep = {"RETENTION_SUCCEEDED_BODIES_DAYS": 0, "RETENTION_FAILED_BODIES_DAYS": 5}
    with override_settings(LIVE_PUSH=keep):
        prune(days=4)
        assert Push.objects.get().payload is not None
        prune(days=6)
        assert Push.objects.get().payload is None


@pytest.mark.usefixtures("log")
def test_bodies_stay_unless_asked_for() -> None:
    prune(days=3)
    assert not Push.objects.filter(payload=None).exists()


@pytest.mark.parametrize(
    ("days", "stays"), [pytest.param(89, True, id="90 days"), pytest.param(91, False, id="no more")]
)
@pytest.mark.usefixtures("log")
def test_hourly_figures_stay_as_long_as_failures(days: float, stays: bool) -> None:
    prune(days=days)
    assert EndpointHour.objects.exists() == stays


def test_a_worker_not_seen_for_a_day_is_forgotten() -> None:
    for name, hours in (("old", 25), ("recent", 23)):
        seen_at = START - timedelta(hours=hours)
        WorkerHeartbeat.objects.create(name=name, engine="worker", started_at=seen_at, seen_at=seen_at)
    assert prune()["heartbeats"] == 1
    assert WorkerHeartbeat.objects.get().name == "recent"


def test_progress_goes_to_stderr_and_the_summary_to_stdout() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory.create_batch(2)
        deliver(OK)
    out, progress = StringIO(), StringIO()
    call_command("live_push_prune", stdout=out, stderr=progress)
    assert "2 of 2 deliveries" in progress.getvalue()
    assert out.getvalue().startswith("Deleted 2 succeeded, 0 failed and 0 cancelled deliveries, with 2 pushes")


def test_quietly_means_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("live_push_prune", "-v", "0")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("days", ["-1", "1000000"])
def test_days_out_of_range_are_a_wrong_call(days: str) -> None:
    with pytest.raises(CommandError, match="must be from 0") as refusal:
        call_command("live_push_prune", "--bodies-after", days)
    assert refusal.value.returncode == 2


def test_what_was_recorded_while_its_endpoint_was_being_deleted_goes() -> None:
    kept, deleted = ClientEndpointFactory.create_batch(2)
    UserProfileFactory()
    deliver(status(500))
    EndpointHealth.objects.filter(pk=deleted.pk).delete()
    ClientEndpoint.objects.filter(pk=deleted.pk)._raw_delete("default")
    prune()
    assert Delivery.objects.get().endpoint == kept
    assert Push.objects.count() == 1
