"""Short stories: what random play or a reader's doubt found, told step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction

from live_push.engines import worker
from live_push.engines.pipeline import Pipeline
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, Push, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.outbox import capture, give_back, reopen
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.due_work import isolated_deliveries_due
from live_push.signals import delivery_failed, delivery_succeeded
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

from .played_worker import PlayedWorker
from .wire import Wire


class Stage:
    """Two workers, their requests, and a clock."""

    def __init__(self, clock: ExitStack) -> None:
        self.wire = Wire()
        self._clock = clock
        self.first, self.second = PlayedWorker("first", self.wire), PlayedWorker("second", self.wire)

    def run(self, answer: str = "ok") -> None:
        """The first worker works until nothing is due, and all clients answer so."""
        while self.first.turn() or self.answer(self.first, answer):
            pass

    def answer(self, worker: PlayedWorker, answer: str = "ok") -> int:
        """The clients answer all that this worker has under way; returns how many that was."""
        flights = list(worker.flights)
        for flight in flights:
            if flight.result is None:
                self.wire.decide(flight, answer)
            worker.land(flight)
        return len(flights)

    def time_passes(self, seconds: float) -> None:
        """The clock goes on, and stops again."""
        now = db_now("default") + timedelta(seconds=seconds)
        self._clock.close()
        self._clock.enter_context(stopped(now))

    def come_to_rest(self) -> None:
        """Both work until nothing is left to do; the clients accept all."""
        for _ in range(20):
            for played in (self.first, self.second):
                played.do_housekeeping()
                while played.turn() or self.answer(played):
                    pass
            self.time_passes(30)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as clock:
        clock.enter_context(stopped(START))
        yield Stage(clock)


def after(seconds: float) -> AbstractContextManager[None]:
    """Go on, so long after the beginning."""
    return stopped(START + timedelta(seconds=seconds))


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """Of the deliveries that ended: how, and the last attempt's error."""
    heard: list[Any] = []

    def listen(sender: Any, delivery: Any, attempt: Any, **more: Any) -> None:
        heard.append((delivery.reason, attempt and attempt.error_code))

    for signal in (delivery_failed, delivery_succeeded):
        signal.connect(listen)
    yield heard
    for signal in (delivery_failed, delivery_succeeded):
        signal.disconnect(listen)


def switch(endpoint: ClientEndpoint, active: bool) -> None:
    """An operator's switch."""
    ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=active)


def newest_sequence(profile: UserProfile) -> int:
    """The sequence of the profile's last push."""
    sequence: int = UserProfile.objects.values_list("push_sequence", flat=True).get(pk=profile.pk)
    return sequence


def test_a_worker_lets_go_of_what_waits_once_others_took_its_places(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=1)
    UserProfileFactory.create_batch(8)
    stage.first.turn()
    with after(61):
        stage.second.do_housekeeping()
        stage.second.turn()
        stage.answer(stage.first, "not found")
        while stage.first.turn():
            pass
        assert stage.first.pipeline.is_idle


def test_a_retry_policy_that_is_gone_from_the_settings_costs_no_verdict(stage: Stage, settings: Any) -> None:
    ClientEndpointFactory(retry_policy="brief")
    UserProfileFactory.create_batch(2)
    stage.first.turn()
    settings.LIVE_PUSH = {}
    answered, lost = stage.first.flights
    stage.wire.decide(answered, "not found")
    stage.first.land(answered)
    stage.wire.decide(lost, "ok")
    stage.first.turn()
    with after(61):
        stage.second.do_housekeeping()
    assert set(Attempt.objects.values_list("error_code", flat=True)) == {"client_error", "lease_lost"}
    assert Delivery.objects.filter(status="pending", next_attempt_at__isnull=False).count() == 2


def test_a_worker_that_overslept_its_lease_sends_nothing_twice(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=4)
    UserProfileFactory.create_batch(3)
    stage.first.turn()
    with after(61):
        stage.first.do_housekeeping()
        stage.answer(stage.first, "not found")
        while stage.first.turn():
            pass
    assert len(stage.first.flights) == 1


def test_of_two_verdicts_on_one_delivery_the_late_one_is_refused(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    stage.first.turn()
    (late,) = stage.first.flights
    with after(61):
        stage.first.do_housekeeping()
    Delivery.objects.update(stalls=0)
    with after(200):
        stage.first.turn()
        (timely,) = set(stage.first.flights) - {late}
        for flight, answer in ((timely, "ok"), (late, "not found")):
            stage.wire.decide(flight, answer)
            stage.first.land(flight)
        stage.first.turn()
    assert list(Attempt.objects.values_list("number", "error_code")) == [(1, "lease_lost"), (2, "")]
    assert "could not be written" not in caplog.text


def test_a_waiting_resend_that_will_be_superseded_does_not_pass_for_the_current_state(stage: Stage) -> None:
    endpoint = ClientEndpointFactory(is_active=False)
    profile = UserProfileFactory(city="while it was off")
    switch(endpoint, True)
    profile.city = "while it was on"
    profile.save()
    switch(endpoint, False)
    profile.city = "while it was off again"
    profile.save()
    switch(endpoint, True)
    stage.run()
    assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]][-1] == "while it was off again"


def test_what_waited_in_the_window_is_not_sent_after_its_eight_hours(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=2)
    UserProfileFactory.create_batch(2)
    begun = START - timedelta(hours=8) + timedelta(seconds=10)
    Delivery.objects.update(run_attempts=3, attempts_made=3, run_started_at=begun)
    stage.first.turn()
    with after(10):
        stage.run()
    assert [delivery.status for delivery in Delivery.objects.order_by("status")] == ["failed", "succeeded"]


def test_a_replacement_far_behind_in_the_line_is_found_at_once(stage: Stage) -> None:
    ClientEndpointFactory(ordering="latest_only")
    profile = UserProfileFactory()
    for _ in range(30):
        profile.save()
    stage.first.turn()
    assert [flight.sequence for flight in stage.first.flights] == [newest_sequence(profile)]


def test_a_backlog_that_is_out_of_time_does_not_hold_back_the_probe(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    *_, waiting = UserProfileFactory.create_batch(40)
    Delivery.objects.exclude(profile=waiting).update(
        priority=1, run_attempts=5, attempts_made=5, run_started_at=START - timedelta(hours=9)
    )
    Delivery.objects.filter(profile=waiting).update(priority=2)
    EndpointHealth.objects.update(breaker_state="open", failures_in_row=9, rest_seconds=600, rests_until=START)
    stage.first.turn()
    assert [flight.pair for flight in stage.first.flights] == [(endpoint.pk, waiting.pk)]
    assert Delivery.objects.filter(status="failed", reason="exhausted").count() == 39


class TestAFailureWithoutAVerdictIsToldToo:
    def test_of_a_payload_that_can_not_be_built(self, stage: Stage, told: list[Any]) -> None:
        ClientEndpointFactory.create_batch(2)
        UserProfileFactory(custom_data={"nested": {"is": "refused"}})
        assert told == [("payload", None)] * 2

    def test_but_not_where_the_same_commit_mends_it(self, stage: Stage, told: list[Any]) -> None:
        ClientEndpointFactory()
        with transaction.atomic():
            profile = UserProfileFactory(custom_data={"nested": {"is": "refused"}})
            profile.custom_data = None
            profile.save()
        assert told == []

    def test_of_a_run_that_is_over_before_it_goes_on(self, stage: Stage, told: list[Any]) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        Delivery.objects.update(run_attempts=3, attempts_made=3, run_started_at=START - timedelta(hours=9))
        stage.first.turn()
        assert told == [("exhausted", None)]

    def test_of_a_delivery_that_killed_five_workers_in_isolation(self, stage: Stage, told: list[Any]) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        Delivery.objects.update(stalls=5, last_error_code="lease_lost")
        stage.first.turn()
        with after(61):
            stage.second.do_housekeeping()
        assert told == [("stalled", "lease_lost")]


def test_a_slow_client_is_not_sent_what_waited_all_at_once(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=2, rate_limit_per_second=2)
    UserProfileFactory.create_batch(10)
    for second in range(5):
        with after(second):
            stage.first.turn()
    with after(5):
        stage.run()
    assert sum(len(entries) for entries in stage.wire.accepted.values()) <= 3


def test_endpoints_that_fill_the_window_do_not_hold_up_the_next_one(stage: Stage) -> None:
    UserProfileFactory.create_batch(10)
    for _ in range(3):
        endpoint = ClientEndpointFactory(max_in_flight=1)
        UserProfile.objects.update(city="new")
        stage.first.turn()
    assert endpoint.pk in {flight.pair[0] for flight in stage.first.flights}


def test_a_probe_that_is_given_back_leaves_room_for_the_next(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    EndpointHealth.objects.update(breaker_state="open", failures_in_row=5, rest_seconds=30, rests_until=START)
    (share,) = claim(ClaimRequest(name="stopped"), using="default")
    give_back.give_back(share.deliveries, using="default")
    stage.second.turn()
    assert len(stage.second.flights) == 1


def test_what_killed_a_worker_stops_nobody_while_its_endpoint_rests(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    Delivery.objects.update(stalls=1, last_error_code="lease_lost")
    assert isolated_deliveries_due(using="default")
    EndpointHealth.objects.update(rests_until=START + timedelta(hours=1))
    assert not isolated_deliveries_due(using="default")


def test_what_came_back_with_a_verdict_is_not_isolated_again(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    Delivery.objects.update(stalls=3, last_error_code="lease_lost")
    stage.first.turn()
    stage.answer(stage.first, "not found")
    stage.first.turn()
    assert Delivery.objects.get().stalls == 0


def test_a_push_whose_body_was_dropped_is_never_drawn_anew(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    sequence = Push.objects.get().sequence
    Push.objects.update(payload=None)
    stage.run()
    assert Push.objects.get().sequence == sequence
    assert Delivery.objects.get().last_error_code == "payload_failed"


def test_a_failed_payload_is_no_failure_of_the_endpoint(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    Push.objects.update(payload=None)
    stage.run()
    assert EndpointHealth.objects.get().failing_since is None


def test_a_snapshot_that_no_request_can_be_made_of_costs_an_attempt_and_no_worker(stage: Stage) -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    Push.objects.filter(pk=Push.objects.earliest("pk").pk).update(payload=b"{}")
    stage.first.turn()
    stage.answer(stage.first)
    stage.first.turn()
    assert sorted(Attempt.objects.values_list("error_code", flat=True)) == ["", "unexpected"]


def test_a_host_that_commits_by_hand_makes_a_new_push_for_each_commit(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    profile = UserProfileFactory()
    transaction.set_autocommit(False)
    try:
        for city in ("one", "two"):
            profile.city = city
            profile.save()
            transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert Push.objects.count() == 3
    stage.run()
    assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]][-2:] == ["one", "two"]


def test_what_is_settled_is_told_though_the_next_batch_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    ClientEndpointFactory()
    ClientEndpointFactory(capture_third_party_id=True)
    UserProfileFactory()
    stage.first.turn()
    stage.answer(stage.first)

    def lose_the_connection(*args: Any, **more: Any) -> None:
        raise OperationalError("the connection is lost, says the test")

    monkeypatch.setattr(capture, "store", lose_the_connection)
    with pytest.raises(OperationalError):
        stage.first.turn()
    assert len(told) == 1


def test_a_worker_that_is_stopped_tries_more_than_once_to_write_what_it_knows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FINISHING_PAUSE_SECONDS", 0)
    drain, tries = Pipeline.drain, []

    def drain_at_last(pipeline: Pipeline) -> None:
        tries.append(pipeline)
        if len(tries) < 3:
            raise OperationalError("the connection is lost, says the test")
        drain(pipeline)

    monkeypatch.setattr(Pipeline, "drain", drain_at_last)
    loop = worker.WorkerLoop(using="default")
    loop.stop()
    loop.run()
    assert len(tries) == 3


def moments(*, until: int) -> Iterator[int]:
    """Seconds after an activation: every 5 s at first, then in steps of a twentieth of the time that has passed.

    A search is due when the time since the activation has doubled, so the longer steps find as many. A worker's own
    steps of 5 s would be 2,880 in four hours, which take a minute on a database server. These are 124.
    """
    second = 0
    while second < until:
        yield second
        second += max(5, second // 20)


class TestAChangeThatWasUnderWayWhenItsEndpointWasSwitchedOn:
    @pytest.fixture
    def unrecorded(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> tuple[ClientEndpoint, UserProfile]:
        """Its own commit comes after the re-activation's look, which therefore finds nothing."""
        endpoint = ClientEndpointFactory(is_active=False)
        profile = UserProfileFactory(city="unrecorded")
        with monkeypatch.context() as patch:
            patch.setattr(reopen, "_changed_while_inactive", lambda *args, **more: UserProfile.objects.none())
            switch(endpoint, True)
        return endpoint, profile

    def test_is_sent_a_little_later(self, stage: Stage, unrecorded: tuple[ClientEndpoint, UserProfile]) -> None:
        endpoint, profile = unrecorded
        stage.first.do_housekeeping()
        assert not Delivery.objects.exists()
        with after(5):
            stage.first.do_housekeeping()
            stage.run()
            stage.first.do_housekeeping()
        assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]] == ["unrecorded"]

    def test_is_sent_once(self, stage: Stage, unrecorded: tuple[ClientEndpoint, UserProfile]) -> None:
        for second in (5, 6, 10, 11, 25, 4000, 9000):
            with after(second):
                stage.first.do_housekeeping()
                stage.second.do_housekeeping()
        assert Delivery.objects.count() == 1

    def test_is_found_even_an_hour_later(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        switch(endpoint, True)
        for second in moments(until=3600):
            with after(second):
                stage.first.do_housekeeping()
        UserProfileFactory()
        Delivery.objects.all().delete()
        with after(2 * 3600 - 1):
            stage.first.do_housekeeping()
        assert Delivery.objects.count() == 1

    def test_costs_few_looks(self, stage: Stage, unrecorded: tuple[ClientEndpoint, UserProfile]) -> None:
        looks = 0
        for second in moments(until=4 * 3600):
            with after(second):
                before = EndpointHealth.objects.get().caught_up_at
                stage.first.do_housekeeping()
                looks += EndpointHealth.objects.get().caught_up_at != before
        assert looks == 11

    def test_is_none_where_the_endpoint_is_new(self, stage: Stage) -> None:
        UserProfileFactory()
        with after(60):
            endpoint = ClientEndpointFactory(is_active=False)
        with after(120):
            switch(endpoint, True)
        with after(180):
            stage.first.do_housekeeping()
        assert not Delivery.objects.exists()

    def test_is_told_from_one_whose_delivery_failed_for_good(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        switch(endpoint, True)
        UserProfileFactory()
        stage.run("too large")
        with after(60):
            stage.first.do_housekeeping()
        assert Delivery.objects.count() == 1
