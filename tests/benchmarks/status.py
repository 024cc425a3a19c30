"""What the status and the overview cost with a million members: the time of their queries, and of counting the members.

The convergence that they show is what a worker has counted, so it is counted first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from live_push.figures.status import status
from live_push.figures.stored_convergence import PAUSE_TIMES, count_next_slice
from live_push.models import StoredConvergence
from live_push.models.clock import db_now
from tests.support import statements

from . import long_log, world
from .harness import Bench, Row, alternate

MEMBERS, ENDPOINTS, WAITING = 1_000_000, 3, 1000
GOAL_MS = 200.0
MOST_STATEMENTS = 6


def measure(bench: Bench) -> Iterator[Row]:
    members = bench.rows or bench.scaled(MEMBERS, 3000)
    fill(members)
    counting = [count_all() for _ in range(bench.rounds)]
    boss = Client(SERVER_NAME="localhost")
    boss.force_login(get_user_model().objects.create_superuser("boss"))
    quick = partial(status, using="default", counting="never")
    if (number := len(statements(quick))) > MOST_STATEMENTS:
        raise AssertionError(f"live_push_status --quick takes {number} statements.")
    sides: dict[str, Callable[[], float]] = {
        "--quick": partial(query_ms, quick),
        "overview": partial(query_ms, partial(show_overview, boss)),
        "--fresh": partial(query_ms, partial(status, using="default", counting="always")),
    }
    for side in sides.values():
        side()
    found = alternate(sides, bench.rounds)
    of = f"{members:,} members, {ENDPOINTS} endpoints"
    goal = [GOAL_MS] * bench.rounds
    yield Row(f"queries of live_push_status --quick, {of} / 0.2 s", "ms", _pair(found, "--quick", goal), goal="≤ 1")
    yield Row(f"queries of the overview, {of} / 0.2 s", "ms", _pair(found, "overview", goal), goal="≤ 1")
    compared = {"--quick": found["--quick"], "--fresh": found["--fresh"]}
    yield Row(f"queries of live_push_status, --quick / --fresh, {of}", "ms", compared)
    note = f"a worker does it over {PAUSE_TIMES + 1} times as long"
    yield Row(f"counting {of} in slices", "s", {"slices": counting}, note=note)


def _pair(found: dict[str, list[float]], side: str, goal: list[float]) -> dict[str, list[float]]:
    return {side: found[side], "0.2 s": goal}


def fill(members: int) -> None:
    """Members, endpoints that have accepted nearly all of them, a week of figures and some deliveries that wait."""
    ids = world.members(members)
    world.endpoints(*(f"https://client-{number}.example.com/" for number in range(ENDPOINTS)))
    with connection.cursor() as cursor:
        cursor.execute(long_log.MEMBERS)
        cursor.execute(long_log.HOURS)
        world.fill_outbox(ids[:WAITING])
        cursor.execute("VACUUM ANALYZE")


def count_all() -> float:
    """Count all members as a worker does, without its pauses, and return the seconds."""
    StoredConvergence.objects.all().delete()
    took = 0.0
    while not StoredConvergence.objects.filter(under_way={}).exclude(complete={}).exists():
        StoredConvergence.objects.update(next_slice_at=db_now("default") - timedelta(seconds=1))
        began = time.perf_counter()
        if not count_next_slice(using="default").counted:
            raise AssertionError("No slice was counted.")
        took += time.perf_counter() - began
    return took


def show_overview(boss: Client) -> None:
    with override_settings(ALLOWED_HOSTS=["localhost"]):
        page = boss.get(reverse("admin:live_push_overview"))
    if page.status_code != 200 or b"Not counted yet" in page.content:
        raise AssertionError("The overview does not show the convergence.")


def query_ms(action: Callable[[], object]) -> float:
    """How long the database took for all queries of an action."""
    took = 0.0

    def clock(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal took
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            took += time.perf_counter() - began

    with connection.execute_wrapper(clock):
        action()
    return took * 1000
