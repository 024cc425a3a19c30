"""How the pushes are doing: the figures, the words and the exit code."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from live_push.figures import pages, stored_convergence
from live_push.figures.attention import OVERDUE_AFTER
from live_push.figures.status import state_of, status
from live_push.figures.stored_convergence import count_next_slice
from live_push.models import ClientEndpoint, Delivery, EndpointHealth, StoredConvergence, WorkerHeartbeat
from live_push.models.clock import stopped
from tests import support
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


def say(*arguments: str) -> tuple[str, int]:
    """What the command prints, and its exit code."""
    out = StringIO()
    try:
        call_command("live_push_status", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def figures() -> Any:
    return json.loads(say("--json")[0])


def see_worker(seconds_ago: float) -> None:
    seen_at = START - timedelta(seconds=seconds_ago)
    WorkerHeartbeat.objects.create(name="host-1", engine="worker", started_at=seen_at, seen_at=seen_at)


def test_a_fresh_project_is_well() -> None:
    text, code = say()
    assert code == 0
    assert "0 pending" in text
    assert "No worker was seen." in text
    assert "no endpoint yet" in text


@pytest.mark.parametrize(
    ("seconds_ago", "code"),
    [
        pytest.param(None, 1, id="no worker ever"),
        pytest.param(61, 1, id="none for a minute"),
        pytest.param(60, 1, id="none for exactly a minute"),
        pytest.param(59, 0, id="one within a minute"),
    ],
)
def test_due_work_without_a_worker_is_exit_code_1(seconds_ago: float | None, code: int) -> None:
    ClientEndpointFactory()
    with stopped(START - OVERDUE_AFTER):
        UserProfileFactory()
    with stopped(START):
        if seconds_ago is not None:
            see_worker(seconds_ago)
        text, found = say()
    assert found == code
    assert ("no worker does it" in text) == (code == 1)


@pytest.mark.parametrize(("seconds_due", "code"), [(29, 0), (30, 1)])
def test_work_that_became_due_a_moment_ago_may_be_on_its_way_to_a_worker(seconds_due: float, code: int) -> None:
    ClientEndpointFactory()
    with stopped(START - timedelta(seconds=seconds_due)):
        UserProfileFactory()
    with stopped(START):
        assert say()[1] == code
        assert (pages.undelivered_since() is None) == (code == 0)


def test_no_worker_is_needed_where_nothing_is_due() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(support.status(500))
        assert (figures()["pending"], figures()["due"]) == (1, 0)
        assert say()[1] == 0


@pytest.mark.parametrize(
    ("change", "state"),
    [
        pytest.param({"rests_until": START + timedelta(seconds=30)}, "resting", id="resting"),
        pytest.param({"needs_credentials": True}, "needs_credentials", id="needs credentials"),
    ],
)
def test_work_that_no_worker_may_do_is_no_work_for_one(change: dict[str, Any], state: str) -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        EndpointHealth.objects.update(**change)
        found = figures()
        assert say()[1] == 0
    assert (found["due"], found["endpoints"][0]["due"], found["endpoints"][0]["state"]) == (0, 1, state)


@pytest.mark.parametrize(
    ("is_active", "needs_credentials", "rests", "state"),
    [
        pytest.param(True, False, None, "active", id="well"),
        pytest.param(True, False, -1, "active", id="its rest is over"),
        pytest.param(True, False, 1, "resting", id="rests"),
        pytest.param(True, True, 1, "needs_credentials", id="credentials weigh more than a rest"),
        pytest.param(False, True, 1, "disabled", id="disabled weighs most"),
    ],
)
def test_an_endpoint_has_one_state_word(
    is_active: bool, needs_credentials: bool, rests: int | None, state: str
) -> None:
    health = EndpointHealth(
        needs_credentials=needs_credentials,
        rests_until=None if rests is None else START + timedelta(seconds=rests),
    )
    assert state_of(ClientEndpoint(is_active=is_active), health, START) == state


def test_the_json_tells_all_there_is() -> None:
    ClientEndpointFactory(name="acme")
    with stopped(START - timedelta(hours=1)):
        behind = UserProfileFactory()
        UserProfileFactory()
        deliver(OK)
    with stopped(START - timedelta(minutes=4)):
        behind.save()
        UserProfileFactory()
    with stopped(START):
        see_worker(3)
        found = figures()
    assert found == {
        "at": "2026-03-01T12:00:00Z",
        "healthy": True,
        "due": 2,
        "oldest_due_at": "2026-03-01T11:56:00Z",
        "pending": 2,
        "sending": 0,
        "failed_24h": 0,
        "left_out_24h": 0,
        "worker_seen": True,
        "convergence_age_seconds": 0,
        "workers": [
            {
                "name": "host-1",
                "engine": "worker",
                "started_at": "2026-03-01T11:59:57Z",
                "seen_at": "2026-03-01T11:59:57Z",
            }
        ],
        "endpoints": [
            {
                "id": ClientEndpoint.objects.get().pk,
                "name": "acme",
                "state": "active",
                "breaker": "closed",
                "rests_until": None,
                "disabled_reason": "",
                "last_success_at": "2026-03-01T11:00:00Z",
                "failing_since": None,
                "pending": 2,
                "sending": 0,
                "due": 2,
                "oldest_due_at": "2026-03-01T11:56:00Z",
                "failed_24h": 0,
                "left_out_24h": 0,
                "confirmed": 1,
                "behind": 1,
                "behind_since": "2026-03-01T11:56:00Z",
                "never_sent": 1,
                "counted_at": "2026-03-01T12:00:00Z",
                "is_outdated": False,
            }
        ],
    }


def test_failures_of_the_last_day_are_counted() -> None:
    ClientEndpointFactory()
    for hours in (25, 23, 1):
        with stopped(START - timedelta(hours=hours)):
            UserProfileFactory()
            deliver(support.status(413))
    with stopped(START):
        assert (figures()["failed_24h"], figures()["endpoints"][0]["failed_24h"]) == (2, 2)


def test_updates_of_the_last_day_that_held_nothing_new_are_counted() -> None:
    ClientEndpointFactory(only_changes=True)
    with stopped(START - timedelta(hours=40)):
        profile = UserProfileFactory()
        deliver()
    for hours in (30, 23, 1):
        with stopped(START - timedelta(hours=hours)):
            profile.save()
            deliver()
    with stopped(START):
        assert (figures()["left_out_24h"], figures()["endpoints"][0]["left_out_24h"]) == (2, 2)
        out, _err = support.command("live_push_status")
    assert "Not sent in the last 24 hours, because they held nothing new: 2." in out


def test_what_a_worker_has_is_being_sent() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    Delivery.objects.update(status="sending", next_attempt_at=None)
    assert (figures()["pending"], figures()["sending"]) == (0, 1)


@pytest.mark.parametrize(
    ("breaker", "words"),
    [
        pytest.param("closed", "resting for 5 min (asked to)", id="the client asked for it"),
        pytest.param("open", "resting for 5 min (breaker open)", id="its breaker is open"),
        pytest.param("half_open", "resting for 5 min (breaker half-open)", id="a probe is under way"),
    ],
)
def test_the_table_says_why_an_endpoint_rests(breaker: str, words: str) -> None:
    ClientEndpointFactory()
    EndpointHealth.objects.update(breaker_state=breaker, rests_until=START + timedelta(minutes=5))
    with stopped(START):
        assert words in say()[0]


def test_the_table_stands_in_columns() -> None:
    ClientEndpointFactory(name="a")
    ClientEndpointFactory(name="a much longer name", is_active=False)
    UserProfileFactory()
    with stopped(START + timedelta(days=1)):
        heading, first, second = say()[0].splitlines()[-3:]
    assert heading.index("STATE") == first.index("active") == second.index("disabled")
    assert len(heading) == len(first) == len(second)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        pytest.param(timedelta(seconds=0), "0 s", id="now"),
        pytest.param(timedelta(seconds=119), "119 s", id="seconds while there are few"),
        pytest.param(timedelta(minutes=2), "2 min", id="minutes"),
        pytest.param(timedelta(hours=2), "2 h", id="hours"),
        pytest.param(timedelta(days=3), "3 d", id="days"),
    ],
)
def test_the_oldest_due_is_told_as_an_age(age: timedelta, words: str) -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
    with stopped(START + age):
        assert f"the oldest for {words}." in say()[0]


def test_statements_do_not_grow_with_the_endpoints() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    few = len(statements(lambda: status(using="default")))
    ClientEndpointFactory.create_batch(5)
    UserProfileFactory()
    assert len(statements(lambda: status(using="default"))) == few


class TestManyMembers:
    """What was counted by a worker, and when."""

    @pytest.fixture(autouse=True)
    def _one_is_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stored_convergence, "FEW_PROFILES", 0)

    @pytest.fixture
    def endpoint(self) -> ClientEndpoint:
        endpoint: ClientEndpoint = ClientEndpointFactory(name="acme")
        UserProfileFactory.create_batch(2)
        deliver(OK)
        UserProfileFactory()
        return endpoint

    def count(self) -> None:
        with stopped(START - timedelta(minutes=5)):
            assert count_next_slice(using="default").counted
        UserProfileFactory()

    def say(self, *arguments: str) -> str:
        with stopped(START):
            return say(*arguments)[0]

    def converged(self, *arguments: str) -> tuple[Any, ...]:
        """The counts of the only endpoint, and the age."""
        found = json.loads(self.say("--json", *arguments))
        keys = ("confirmed", "behind", "never_sent", "counted_at", "is_outdated")
        return (*(found["endpoints"][0][key] for key in keys), found["convergence_age_seconds"])

    def test_the_counts_of_a_worker_are_told_with_their_age(self, endpoint: ClientEndpoint) -> None:
        self.count()
        for arguments in ([], ["--quick"]):
            assert self.converged(*arguments) == (2, 0, 1, "2026-03-01T11:55:00Z", False, 300)
            text = self.say(*arguments)
            assert "CONFIRMED, BEHIND and NEVER SENT were counted 5 min ago. Count them now with --fresh." in text

    def test_fresh_counts_now(self, endpoint: ClientEndpoint) -> None:
        self.count()
        assert self.converged("--fresh") == (2, 0, 2, "2026-03-01T12:00:00Z", False, 0)
        assert "ago" not in self.say("--fresh")

    def test_before_a_worker_has_counted_quick_says_so_and_else_they_are_counted_now(
        self, endpoint: ClientEndpoint
    ) -> None:
        assert self.converged("--quick") == (None, None, None, None, None, None)
        assert "No worker has counted all profiles yet. Leave --quick out to count them now." in self.say("--quick")
        assert self.converged() == (2, 0, 1, "2026-03-01T12:00:00Z", False, 0)

    def test_an_endpoint_that_came_later_is_unknown_and_the_others_are_known(self, endpoint: ClientEndpoint) -> None:
        self.count()
        ClientEndpointFactory(name="new")
        assert self.converged("--quick") == (2, 0, 1, "2026-03-01T11:55:00Z", False, None)
        assert self.converged() == (2, 0, 2, "2026-03-01T12:00:00Z", False, 0)

    def test_a_changed_endpoint_is_named(self, endpoint: ClientEndpoint) -> None:
        self.count()
        endpoint.save()
        assert self.converged() == (2, 0, 1, "2026-03-01T11:55:00Z", True, 300)
        assert "Changed since then: acme." in self.say()

    def test_it_is_one_or_the_other(self) -> None:
        support.command("live_push_status", "--quick", "--fresh", code=1)

    def test_the_exit_code_does_not_depend_on_it(self, endpoint: ClientEndpoint) -> None:
        Delivery.objects.all().delete()
        with stopped(START):
            assert [say(*arguments)[1] for arguments in ([], ["--quick"], ["--fresh"])] == [0, 0, 0]

    def test_quick_takes_at_most_six_statements_and_reads_few_members(self, endpoint: ClientEndpoint) -> None:
        def quick() -> list[str]:
            return statements(lambda: status(using="default", counting="never"))

        unknown = quick()
        assert len(unknown) == 6
        (reading,) = [sql for sql in unknown if "userprofile" in sql or "live_push_confirmation" in sql]
        assert "LIMIT 1" in reading
        self.count()
        known = quick()
        assert len(known) == 5
        assert not any("userprofile" in sql or "live_push_confirmation" in sql for sql in known)
        StoredConvergence.objects.all().delete()
        ClientEndpoint.objects.all().delete()
        assert len(quick()) <= 6
