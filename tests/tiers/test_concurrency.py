"""Real threads on real connections: whoever holds the profile's row is alone with the member."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections

from live_push.exceptions import TierError
from live_push.models import Delivery, Push, Tier, TierEvent, TierMembership, UserProfile
from live_push.tiers import clock, service
from tests.tiers.builders import utc

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8


def at_once(*acts: Callable[[], None]) -> None:
    """Run all acts at the same time, each in a thread with a connection of its own; raises what any of them raises."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], None]) -> None:
        try:
            barrier.wait(timeout=30)
            act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        for running in [pool.submit(run, act) for act in acts]:
            running.result()


def awards(profile: UserProfile, points: Sequence[int]) -> Callable[[], None]:
    def award() -> None:
        own = UserProfile.objects.get(pk=profile.pk)
        for some in points:
            service.award_points(own, some)

    return award


@pytest.fixture
def everlasting(make_program, at) -> Iterator[UserProfile]:
    """A member whose tier never expires, on a day that does not end."""
    make_program(timeframe="none")
    with at(2026, 3, 4):
        yield UserProfile.objects.create()


@pytest.mark.parametrize(
    "each", [8, pytest.param(125, marks=[pytest.mark.slow, pytest.mark.raced])], ids=["64", "a thousand"]
)
def test_concurrent_awards_lose_no_point_and_push_in_order(everlasting, endpoint, each):
    at_once(*[awards(everlasting, [3] * each)] * THREADS)
    total = 3 * each * THREADS
    stored = UserProfile.objects.get(pk=everlasting.pk)
    assert (stored.total_points, stored.redeemable_points) == (total, total)
    assert (stored.monthly_points, stored.weekly_points) == (total, total)
    assert stored.tier_membership.timeframe_score == total
    story = list(TierEvent.objects.filter(profile=stored).order_by("id"))
    assert len(story) == 1 + each * THREADS
    assert [event.timeframe_score_after for event in story] == [3 * place for place in range(len(story))]
    pushed = [json.loads(push.payload) for push in Push.objects.order_by("sequence")]
    assert [body["totalPoints"] for body in pushed] == [3 * place for place in range(1, len(story))]
    assert [body["tierInfo"]["timeframeScore"] for body in pushed] == [body["totalPoints"] for body in pushed]
    assert Delivery.objects.values_list("push_id", flat=True).distinct().count() == len(pushed)


def test_a_boundary_is_crossed_once_whoever_crosses_it(everlasting):
    at_once(*[awards(everlasting, [100] * 5)] * THREADS)
    jumps = TierEvent.objects.filter(event="jump").order_by("id").values_list("to_title", "timeframe_score_after")
    assert list(jumps) == [("Tier 2", 1000), ("Tier 3", 2500)]


def test_the_same_points_are_not_spent_twice(everlasting):
    service.award_points(everlasting, 10)
    refused = []

    def spend() -> None:
        own = UserProfile.objects.get(pk=everlasting.pk)
        try:
            service.spend_points(own, 4)
        except TierError as error:
            refused.append(str(error))

    at_once(*[spend] * THREADS)
    assert UserProfile.objects.get(pk=everlasting.pk).redeemable_points == 2
    assert len(refused) == THREADS - 2


def test_runs_awards_and_overrides_at_once_apply_everything_once(make_program, at):
    program = make_program()
    with at(2026, 1, 10):
        profiles = [UserProfile.objects.create() for _ in range(12)]
    now = utc(2028, 3, 1)

    def run() -> None:
        clock.apply_due(now, batch_size=5)

    def award() -> None:
        for profile in reversed(UserProfile.objects.order_by("pk")):
            service.award_points(profile, 7, at=now)

    def lift() -> None:
        for profile in UserProfile.objects.order_by("pk"):
            service.override_tier(profile, program.tiers.get(title="Tier 2"), now)

    at_once(run, run, award, award, lift)
    for profile in profiles:
        story = TierEvent.objects.filter(profile=profile)
        assert list(story.filter(cause="clock").order_by("id").values_list("due_at", flat=True)) == [
            utc(2027, 1, 1),
            utc(2028, 1, 1),
        ]
        assert story.filter(cause="points").count() == 2
        assert story.filter(cause="override").count() == 1
    scores = TierMembership.objects.values_list("tier__title", "timeframe_score").distinct()
    assert list(scores) == [("Tier 2", 14)]
    assert Tier.objects.filter(memberships__isnull=False).distinct().count() == 1
