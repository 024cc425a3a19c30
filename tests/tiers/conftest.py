from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from live_push.models import ClientEndpoint, Tier, TierProgram, UserProfile, clock
from live_push.signals import profiles_changed
from tests.tiers.builders import utc

THREE_TIERS = [("Tier 1", None, 999), ("Tier 2", 1000, 2499), ("Tier 3", 2500, None)]

YEARLY = {"timeframe": "fixed", "reset_month": 1, "reset_day": 1}
ROLLING = {"timeframe": "rolling", "length": 12, "length_unit": "months"}


@pytest.fixture
def make_program(db) -> Callable[..., TierProgram]:
    """Create a program with three tiers; fixed, resetting and expiring every 1 January, unless told otherwise."""

    def make(*, tiers=THREE_TIERS, **columns: Any) -> TierProgram:
        columns = {"name": "Club", "is_default": True, **YEARLY, **columns}
        program = TierProgram.objects.create(**columns)
        Tier.objects.bulk_create(
            Tier(program=program, title=title, min_value=low, max_value=high) for title, low, high in tiers
        )
        return program

    return make


@pytest.fixture
def at() -> Callable[..., Any]:
    """Stop the database's clock: ``with at(2026, 1, 10): …``."""
    return lambda *when: clock.stopped(utc(*when))


@pytest.fixture
def member(make_program, at) -> UserProfile:
    """Somebody who enrolled on 10 January 2026 in a yearly program of three tiers."""
    make_program()
    with at(2026, 1, 10):
        return UserProfile.objects.create(first_name="Ada")


@pytest.fixture
def announcements() -> Callable[[], Any]:
    """Collect what is announced: ``with announcements() as heard: …``, a list of (profile ids, trigger)."""

    @contextmanager
    def listen() -> Iterator[list[tuple[list[int], str]]]:
        heard: list[tuple[list[int], str]] = []

        def hear(profile_ids: list[int], trigger: str, **kwargs: Any) -> None:
            heard.append((list(profile_ids), trigger))

        profiles_changed.connect(hear)
        try:
            yield heard
        finally:
            profiles_changed.disconnect(hear)

    return listen


@pytest.fixture
def endpoint(db) -> ClientEndpoint:
    """Without an endpoint nobody wants a push, and none is kept."""
    return ClientEndpoint.objects.create(name="Client", url="https://client.example.com/push")
