"""What happens when a worker, or the database's answer to it, stands still for longer than a lease lasts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from live_push.figures.convergence import convergence
from live_push.models import Attempt, ClientEndpoint, Confirmation, Delivery, EndpointHealth, EndpointHour, UserProfile
from live_push.models.clock import db_now
from live_push.outbox import uncertain
from live_push.outbox.behind import profiles_behind
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

from .connections import held_answer, marks_as_dialled
from .test_stories import Stage, stage, switch
from .wire import TOO_LATE, Flight

__all__ = ["stage"]


def row() -> dict[str, Any]:
    """What an undone start must leave as it was."""
    counters = "status", "reason", "attempts_made", "run_attempts", "run_started_at", "dialled_at", "lease_token"
    return Delivery.objects.values(*counters, "leased_until", "priority", "stalls", "last_error_code").get()


def start_too_late(stage: Stage, seconds: float = 3) -> None:
    """The database's answer to the first worker's start is held, so that its deadline is over."""
    with held_answer("first", marks_as_dialled, lambda: stage.time_passes(seconds)):
        stage.first.turn()


class TestAStartThatIsTooLate:
    def test_is_undone_and_sent_at_the_next_turn(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        before = row()
        start_too_late(stage)
        assert [flight.result for flight in stage.first.flights] == [TOO_LATE]
        stage.answer(stage.first)
        stage.first.pipeline._collect()
        stage.first.pipeline._undo()
        assert row() == before
        assert not Attempt.objects.exists()
        assert not EndpointHour.objects.exists()
        assert Delivery.objects.get().next_attempt_at == db_now("default")
        stage.run()
        assert list(Attempt.objects.values_list("number", "error_code")) == [(1, "")]

    def test_of_a_retry_leaves_its_run_as_it_was(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        stage.run("not found")
        before = row()
        stage.time_passes(11)
        start_too_late(stage)
        stage.answer(stage.first)
        stage.first.pipeline._collect()
        stage.first.pipeline._undo()
        assert row() == before
        assert (before["run_attempts"], before["run_started_at"]) == (1, START)

    def test_is_no_failure_of_its_endpoint(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        stage.first.turn()
        stage.answer(stage.first, "error")
        stage.first.turn()
        Delivery.objects.filter(status="pending").update(next_attempt_at=START)
        before = EndpointHealth.objects.values("failures_in_row", "failing_since", "last_failure_at").get()
        start_too_late(stage)
        stage.answer(stage.first)
        stage.first.turn()
        assert EndpointHealth.objects.values("failures_in_row", "failing_since", "last_failure_at").get() == before

    def test_takes_its_probe_back(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        EndpointHealth.objects.update(breaker_state="open", failures_in_row=5, rest_seconds=30, rests_until=START)
        start_too_late(stage)
        stage.answer(stage.first)
        stage.first.pipeline._collect()
        stage.first.pipeline._undo()
        assert EndpointHealth.objects.get().breaker_state == "open"
        stage.second.turn()
        assert len(stage.second.flights) == 1

    def test_changes_nothing_where_another_worker_has_the_delivery(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        start_too_late(stage, seconds=20)
        stage.second.do_housekeeping()
        Delivery.objects.update(stalls=0, next_attempt_at=START)
        stage.second.turn()
        before = row()
        stage.answer(stage.first)
        stage.first.turn()
        assert before["status"] == "sending"
        assert row() == before

    def test_gives_its_slot_back(self, stage: Stage) -> None:
        ClientEndpointFactory(max_in_flight=1)
        UserProfileFactory()
        start_too_late(stage)
        stage.answer(stage.first)
        stage.first.pipeline._collect()
        stage.first.pipeline._undo()
        assert stage.first.pipeline.is_idle
        assert EndpointHealth.objects.get().slots == {}

    @pytest.mark.parametrize(("seconds", "tries"), [(0, 1), (3, 2)], ids=["in time", "too late"])
    def test_is_known_though_the_answer_to_it_was_lost(self, stage: Stage, seconds: float, tries: int) -> None:
        ClientEndpointFactory()
        UserProfileFactory()

        def lose() -> None:
            stage.time_passes(seconds)
            raise OperationalError("the connection is lost after the statement, says the test")

        with pytest.raises(OperationalError), held_answer("first", marks_as_dialled, lose):
            stage.first.turn()
        stage.run()
        assert list(Attempt.objects.values_list("number", "error_code")) == [(1, "")]
        assert Delivery.objects.get().claims_made == tries

    def test_waits_for_another_worker_where_its_own_stops(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()

        def lose() -> None:
            raise OperationalError("the connection is lost after the statement, says the test")

        with pytest.raises(OperationalError), held_answer("first", marks_as_dialled, lose):
            stage.first.turn()
        stage.first.pipeline.drain()
        assert (row()["status"], row()["attempts_made"], row()["run_started_at"]) == ("pending", 0, None)


class TestAnEndpointThatIsSlowToConnectTo:
    def test_gets_a_longer_deadline_at_the_second_try(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        stage.wire.is_slow = True
        stage.first.turn()
        stage.time_passes(6)
        self.write_and_answer(stage)
        assert stage.wire.accepted == {}
        stage.first.turn()
        stage.time_passes(6)
        self.write_and_answer(stage)
        assert [entry.sequence for entry in stage.wire.accepted[endpoint.pk, profile.pk]] == [profile_sequence(profile)]
        assert Attempt.objects.count() == 0
        stage.first.turn()
        assert Attempt.objects.get().status_code == 200

    def test_does_not_hold_another_endpoints_places_for_longer(self, stage: Stage) -> None:
        slow, well = ClientEndpointFactory.create_batch(2)
        UserProfileFactory()
        stage.wire.is_slow = True
        stage.first.turn()
        late, timely = sorted(stage.first.flights, key=lambda flight: flight.pair)
        stage.first.write(timely)
        stage.wire.decide(timely, "ok")
        stage.time_passes(6)
        stage.first.write(late)
        stage.answer(stage.first)
        stage.first.turn()
        UserProfileFactory()
        stage.first.turn()
        ends = {
            pk: slots[stage.first.pipeline.name][1] for pk, slots in EndpointHealth.objects.values_list("pk", "slots")
        }
        assert ends[slow.pk] - ends[well.pk] == 15

    @staticmethod
    def write_and_answer(stage: Stage) -> None:
        for flight in list(stage.first.flights):
            stage.first.write(flight)
        stage.answer(stage.first)


def profile_sequence(profile: UserProfile) -> int:
    profile.refresh_from_db()
    return profile.push_sequence


def write_late(stage: Stage, profile: UserProfile) -> Flight:
    """The first worker stands still before its write, the second sends a newer state, and the first goes on."""
    stage.wire.is_slow = True
    stage.first.turn()
    (late,) = stage.first.flights
    stage.wire.is_slow = False
    stage.time_passes(20)
    stage.second.do_housekeeping()
    profile.city = "newer"
    profile.save()
    stage.second.turn()
    return late


class TestAnOlderStateThatIsAcceptedLate:
    @pytest.mark.parametrize("order", ["late first", "newer first", "the newer one fails"])
    def test_is_healed_in_whatever_order_it_comes(self, stage: Stage, order: str) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        if order == "late first":
            stage.first.write(late, heedless=True)
            stage.answer(stage.first)
            stage.first.turn()
            stage.time_passes(1)
            stage.answer(stage.second)
        else:
            stage.answer(stage.second, "ok" if order == "newer first" else "error")
            stage.second.turn()
            stage.first.write(late, heedless=True)
            stage.answer(stage.first)
        stage.come_to_rest()
        assert stage.wire.accepted[endpoint.pk, profile.pk][-1].city == "newer"
        assert not Confirmation.objects.filter(uncertain_since__isnull=False).exists()

    def test_is_healed_again_where_it_comes_after_the_healing_push(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.answer(stage.second)
        Confirmation.objects.update(uncertain_since=START)
        stage.come_to_rest()
        stage.first.write(late, heedless=True)
        stage.answer(stage.first)
        stage.come_to_rest()
        assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]][-2:] == ["older", "newer"]

    def test_counts_as_behind_until_it_is_healed(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.answer(stage.second)
        stage.second.turn()
        assert self.behind(endpoint.pk) == (0, set(), [])
        stage.first.write(late, heedless=True)
        stage.answer(stage.first)
        stage.first.turn()
        assert self.behind(endpoint.pk) == (1, {profile.pk}, [profile.pk])
        stage.come_to_rest()
        assert self.behind(endpoint.pk) == (0, set(), [])

    @staticmethod
    def behind(endpoint_id: int) -> tuple[int, set[int], list[int]]:
        (figure,) = convergence(using="default")
        assert figure.confirmed + figure.behind == 1
        ids = list(UserProfile.objects.values_list("pk", flat=True))
        behind = set(UserProfile.objects.behind(endpoint_id).values_list("pk", flat=True))
        return figure.behind, behind, profiles_behind(ids, ClientEndpoint.objects.get(), using="default")

    def test_is_healed_by_a_reactivation_too(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.answer(stage.second)
        stage.second.turn()
        stage.first.write(late, heedless=True)
        stage.answer(stage.first)
        stage.first.turn()
        stage.time_passes(1)
        switch(endpoint, False)
        stage.second.do_housekeeping()
        assert not Delivery.objects.live().exists()
        switch(endpoint, True)
        assert Delivery.objects.live().count() == 1
        stage.come_to_rest()
        assert stage.wire.accepted[endpoint.pk, profile.pk][-1].city == "newer"
        assert Delivery.objects.count() == 3

    def test_of_which_nothing_newer_was_started_needs_no_healing(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        stage.first.turn()
        (late,) = stage.first.flights
        stage.wire.decide(late, "ok")
        stage.time_passes(20)
        stage.second.do_housekeeping()
        stage.first.land(late)
        stage.first.turn()
        assert not Confirmation.objects.exists()

    @pytest.mark.parametrize("end", ["too late", "refused"])
    def test_whose_request_was_never_written_needs_none(self, stage: Stage, end: str) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.answer(stage.second)
        stage.second.turn()
        if end == "too late":
            stage.first.write(late)
        stage.answer(stage.first, end)
        stage.first.turn()
        assert not Confirmation.objects.filter(uncertain_since__isnull=False).exists()

    def test_of_a_member_who_is_deleted_meanwhile_leaves_nothing(self, stage: Stage) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.first.write(late, heedless=True)
        stage.wire.decide(late, "ok")
        profile.delete()
        stage.first.land(late)
        stage.first.turn()
        assert not Confirmation.objects.exists()

    def test_is_known_though_its_delivery_was_pruned(self, stage: Stage) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        late = write_late(stage, profile)
        stage.first.write(late, heedless=True)
        Delivery.objects.filter(status="cancelled").delete()
        stage.answer(stage.first)
        stage.first.turn()
        assert Confirmation.objects.get().uncertain_since is not None


class TestHealing:
    def test_is_recorded_once(self, stage: Stage) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        stage.run()
        Confirmation.objects.update(uncertain_since=START)
        stage.time_passes(1)
        assert [uncertain.heal(using="default") for _ in range(3)] == [1, 0, 0]
        # The client refuses it for good, which the log shows: it is not sent for ever.
        stage.run("too large")
        assert uncertain.heal(using="default") == 0

    def test_leaves_it_to_what_waits_already(self, stage: Stage) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        stage.run()
        profile.save()
        stage.time_passes(1)
        Confirmation.objects.update(uncertain_since=db_now("default"))
        assert uncertain.heal(using="default") == 0
        stage.time_passes(1)
        stage.run()
        assert Confirmation.objects.get().uncertain_since is None

    def test_leaves_endpoints_alone_that_are_switched_off(self, stage: Stage) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory()
        stage.run()
        Confirmation.objects.update(uncertain_since=START + timedelta(seconds=1))
        endpoint.is_active = False
        endpoint.save()
        assert uncertain.heal(using="default") == 0

    def test_comes_in_batches(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uncertain, "PAIRS_PER_RUN", 2)
        ClientEndpointFactory()
        UserProfileFactory.create_batch(5)
        stage.run()
        Confirmation.objects.update(uncertain_since=START + timedelta(seconds=1))
        stage.time_passes(2)
        assert [uncertain.heal(using="default") for _ in range(4)] == [2, 2, 1, 0]
