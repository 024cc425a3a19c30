"""The promises can be broken: each of these mutants breaks one rule of the outbox, and one story finds it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from live_push.delivery import settle
from live_push.models import Delivery
from live_push.outbox import claim, leases, line
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

from . import promises
from .test_stories import Stage, after, stage

__all__ = ["stage"]

Patch = Callable[[pytest.MonkeyPatch], None]
Story = Callable[[Stage], None]


def start_what_another_has(patch: pytest.MonkeyPatch) -> None:
    real = leases.start

    def mutant(deliveries: Sequence[Delivery], *, using: str) -> list[Delivery]:
        for delivery in deliveries:
            delivery.refresh_from_db(using=using, fields=["lease_token", "leased_until"])
        return real(deliveries, using=using)

    patch.setattr(leases, "start", mutant)


def forget_what_was_accepted(patch: pytest.MonkeyPatch) -> None:
    def mutant(places: Sequence[line.Place], *, ordering: str, confirmed: int) -> line.Verdict:
        return line.arrange(places, ordering=ordering, confirmed=0)

    patch.setattr(claim, "arrange", mutant)


def settle_for_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settle, "_is_mine", lambda outcome, delivery: delivery.lease_token is not None)


def a_worker_wakes_up_after_its_leases(stage: Stage) -> None:
    ClientEndpointFactory(max_in_flight=1)
    UserProfileFactory.create_batch(2)
    stage.first.turn()
    with after(61):
        stage.second.keep_house()
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
        stage.second.keep_house()
    with after(200):
        stage.second.turn()
        assert len(stage.second.flights) == 1
        stage.answer(stage.first, "not found")
        stage.first.turn()
    with after(215):
        stage.first.turn()
        promises.no_pair_has_two_in_flight(stage.wire)


MUTANTS: dict[str, tuple[Patch, Story]] = {
    "starts what another has": (start_what_another_has, a_worker_wakes_up_after_its_leases),
    "sends what is older than what was accepted": (
        forget_what_was_accepted,
        somebody_reopens_an_older_state_by_hand,
    ),
    "settles what another has": (settle_for_whoever_asks, an_answer_comes_after_the_lease),
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
