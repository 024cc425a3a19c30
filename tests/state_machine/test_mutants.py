"""The promises can be broken: each of these mutants breaks one rule of the outbox, and one story finds it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from live_push.delivery import send
from live_push.models import Audience, ClientEndpoint, Delivery, audience
from live_push.outbox import claim, contents, give_back, settle, start, uncertain, withdraw
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.outbox.outcome import Outcome
from live_push.rules import ordering as line
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

from . import promises
from .test_stories import Stage, after, stage

__all__ = ["stage"]

Patch = Callable[[pytest.MonkeyPatch], None]
Story = Callable[[Stage], None]


def start_what_another_has(patch: pytest.MonkeyPatch) -> None:
    real = start.start

    def mutant(deliveries: Sequence[ClaimedDelivery], *, using: str, **more: Any) -> list[ClaimedDelivery]:
        for delivery in deliveries:
            delivery.lease_token = Delivery.objects.using(using).get(pk=delivery.pk).lease_token
        return real(deliveries, using=using, **more)

    patch.setattr(start, "start", mutant)


def forget_what_was_accepted(patch: pytest.MonkeyPatch) -> None:
    def mutant(pair: Sequence[line.Waiting], *, ordering: str, confirmed: int) -> line.NextAndSuperseded:
        return line.next_and_superseded(pair, ordering=ordering, confirmed=0)

    patch.setattr(claim, "next_and_superseded", mutant)


def settle_for_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    def mutant(outcome: Outcome, token: Any) -> bool:
        # With the number that this worker knows, the database would refuse the attempt: it is in the log already.
        stored = Delivery.objects.using(outcome.endpoint._state.db).filter(pk=outcome.delivery.pk)
        outcome.delivery.attempts_made = stored.values_list("attempts_made", flat=True).get()
        return token is not None

    patch.setattr(settle, "_is_mine", mutant)


def send_without_a_look_at_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(send, "is_too_late", lambda request: False)


def forget_late_verdicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(uncertain, "mark", lambda *args, **more: 0)


def heal_with_what_was_under_way(patch: pytest.MonkeyPatch) -> None:
    real, always = uncertain.clear, datetime.max.replace(tzinfo=UTC)
    patch.setattr(
        uncertain, "clear", lambda rows, accepted, *, using: real(rows, dict.fromkeys(accepted, always), using=using)
    )


def remember_what_was_accepted_during_the_next_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contents, "forget_accepted", lambda *args, **more: None)


def compare_the_member_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contents, "compared_digest", lambda delivery, endpoint: str(delivery.profile_id))


def start_without_a_look_at_the_audience(patch: pytest.MonkeyPatch) -> None:
    real = start._is_current

    def mutant(values: dict[str, Any], endpoint: ClientEndpoint, *, using: str) -> str:
        with mock.patch.object(endpoint, "audience", Audience.ALL):
            return real(values, endpoint, using=using)

    patch.setattr(start, "_is_current", mutant)


def forget_that_an_audience_is_wider(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(audience, "note_change", lambda *args, **more: None)


def count_what_was_cancelled_outside_as_recorded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(give_back, "leave_out_outsiders", lambda deliveries, *, using: withdraw_all(deliveries, using))


def withdraw_all(deliveries: Sequence[ClaimedDelivery], using: str) -> list[ClaimedDelivery]:
    """Cancel them as if an operator had."""
    ids = [delivery.pk for delivery in deliveries]
    give_back.give_back(deliveries, using=using)
    withdraw.cancel(ids, using=using)
    return []


def a_worker_wakes_up_after_its_leases(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=4)
    UserProfileFactory.create_batch(3)
    stage.first.turn()
    with after(61):
        stage.second.do_housekeeping()
        stage.second.turn()
        stage.answer(stage.first, "not found")
        stage.first.turn()
        promises.no_pair_has_two_in_flight(stage.wire)


def somebody_reopens_an_older_state_by_hand(stage: Stage) -> None:
    ClientEndpointFactory(ordering="latest_only")
    profile = UserProfileFactory()
    profile.save()
    stage.run()
    older = Delivery.objects.filter(status="cancelled")
    assert older.update(status="pending", reason="", next_attempt_at=START, ended_at=None) == 1
    # Beginning to send what is older is what the played worker itself complains of.
    stage.run()


def an_answer_comes_after_the_lease(stage: Stage) -> None:
    ClientEndpointFactory(retry_policy="brief")
    UserProfileFactory()
    stage.first.turn()
    with after(61):
        stage.second.do_housekeeping()
    with after(200):
        stage.second.turn()
        assert len(stage.second.flights) == 1
        stage.answer(stage.first, "not found")
        stage.first.turn()
    with after(215):
        stage.first.turn()
        promises.no_pair_has_two_in_flight(stage.wire)


def an_answer_of_the_database_comes_too_late(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    profile = UserProfileFactory(city="older")

    def meanwhile() -> None:
        stage.time_passes(20)
        stage.second.do_housekeeping()
        profile.city = "newer"
        profile.save()
        while stage.second.turn() or stage.answer(stage.second):
            pass

    real, interruptions = start.start, [meanwhile]

    def held(*args: Any, **more: Any) -> list[Delivery]:
        started = real(*args, **more)
        if interruptions:
            interruptions.pop()()
        return started

    with mock.patch.object(start, "start", held):
        stage.first.turn()
    stage.come_to_rest()
    assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]] == ["newer"]


def an_older_state_is_written_late(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    profile = UserProfileFactory(city="older")
    stage.wire.is_slow = True
    stage.first.turn()
    (late,) = stage.first.flights
    stage.wire.is_slow = False
    stage.time_passes(20)
    stage.second.do_housekeeping()
    profile.city = "newer"
    profile.save()
    stage.second.turn()
    stage.answer(stage.second)
    stage.first.write(late, heedless=True)
    stage.answer(stage.first)
    stage.come_to_rest()
    assert stage.wire.accepted[endpoint.pk, profile.pk][-1].city == "newer"


def an_older_state_is_written_late_while_a_newer_is_under_way(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    profile = UserProfileFactory(city="older")
    stage.wire.is_slow = True
    stage.first.turn()
    (late,) = stage.first.flights
    stage.wire.is_slow = False
    stage.time_passes(20)
    stage.second.do_housekeeping()
    profile.city = "newer"
    profile.save()
    stage.second.turn()
    (newer,) = stage.second.flights
    stage.wire.decide(newer, "ok")
    stage.first.write(late, heedless=True)
    stage.time_passes(1)
    stage.answer(stage.first)
    stage.first.turn()
    stage.come_to_rest()
    assert stage.wire.accepted[endpoint.pk, profile.pk][-1].city == "newer"


def a_member_comes_back_after_a_timeout(stage: Stage) -> None:
    endpoint = ClientEndpointFactory(only_changes=True)
    profile = UserProfileFactory(city="here")
    stage.run()
    profile.city = "there"
    profile.save()
    stage.first.turn()
    stage.time_passes(16)
    # The client processes the request, and its answer gets lost.
    stage.wire.time_out(processed=True)
    stage.answer(stage.first)
    profile.city = "here"
    profile.save()
    stage.come_to_rest()
    assert stage.wire.accepted[endpoint.pk, profile.pk][-1].city == "here"
    promises.nothing_is_missing(stage.wire)


def a_member_moves(stage: Stage) -> None:
    endpoint = ClientEndpointFactory(only_changes=True)
    profile = UserProfileFactory(city="here")
    stage.run()
    profile.city = "there"
    profile.save()
    stage.come_to_rest()
    assert [entry.city for entry in stage.wire.accepted[endpoint.pk, profile.pk]] == ["here", "there"]


def a_member_leaves_an_audience(stage: Stage) -> None:
    ClientEndpointFactory().set_audience(["north"])
    profile = UserProfileFactory(client_branding_id="north")
    profile.client_branding_id = "south"
    profile.save()
    # Beginning to send what is outside is what the played worker itself complains of.
    stage.first.turn()


def a_member_is_changed_while_an_audience_is_widened(stage: Stage) -> None:
    """The change does not see the new list: it stands for a transaction that is committed after the widening."""
    endpoint = ClientEndpointFactory()
    endpoint.set_audience(["north"])
    profile = UserProfileFactory(client_branding_id="south")
    endpoint.set_audience(["north", "south"])
    stage.come_to_rest()
    assert len(stage.wire.accepted.get((endpoint.pk, profile.pk), [])) == 1


def an_audience_is_narrow_for_a_moment(stage: Stage) -> None:
    endpoint = ClientEndpointFactory()
    endpoint.set_audience(["north"])
    profile = UserProfileFactory(client_branding_id="north")
    endpoint.set_audience(["south"])
    stage.first.turn()
    endpoint.set_audience(["north"])
    stage.come_to_rest()
    assert len(stage.wire.accepted.get((endpoint.pk, profile.pk), [])) == 1


MUTANTS: dict[str, tuple[Patch, Story]] = {
    "starts what another has": (start_what_another_has, a_worker_wakes_up_after_its_leases),
    "sends what is older than what was accepted": (
        forget_what_was_accepted,
        somebody_reopens_an_older_state_by_hand,
    ),
    "settles what another has": (settle_for_whoever_asks, an_answer_comes_after_the_lease),
    "sends after the deadline": (send_without_a_look_at_the_clock, an_answer_of_the_database_comes_too_late),
    "forgets late verdicts": (forget_late_verdicts, an_older_state_is_written_late),
    "takes a state that was under way for the last": (
        heal_with_what_was_under_way,
        an_older_state_is_written_late_while_a_newer_is_under_way,
    ),
    "leaves out what equals a state before the last attempt": (
        remember_what_was_accepted_during_the_next_attempt,
        a_member_comes_back_after_a_timeout,
    ),
    "leaves out what has changed": (compare_the_member_only, a_member_moves),
    "starts what is outside the audience": (start_without_a_look_at_the_audience, a_member_leaves_an_audience),
    "forgets that an audience is wider": (
        forget_that_an_audience_is_wider,
        a_member_is_changed_while_an_audience_is_widened,
    ),
    "takes what was outside for sent": (
        count_what_was_cancelled_outside_as_recorded,
        an_audience_is_narrow_for_a_moment,
    ),
}


@pytest.mark.parametrize(("mutant", "story"), MUTANTS.values(), ids=MUTANTS.keys())
def test_whoever_breaks_a_rule_is_found(
    stage: Stage, mutant: Patch, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        story(stage)


@pytest.mark.parametrize("story", [story for _, story in MUTANTS.values()], ids=MUTANTS.keys())
def test_whoever_keeps_them_is_not(stage: Stage, story: Story) -> None:
    story(stage)
