"""What a long log costs: the claim, the admin's list and the convergence figure, with ten million deliveries in it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from statistics import median, quantiles

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from live_push.figures.convergence import convergence
from live_push.models import ClientEndpoint
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from tests.support import statements

from . import long_log, world
from .harness import Bench, Row, alternate
from .long_log import connected

SHORT, LONG, PROFILES = 10_000, 10_000_000, 200_000
CALLS = 200
"""So many of each over all rounds, but in a round no longer than that takes:"""

MOST_SECONDS = 15

WARM_UP = 3
MOST_READ_WHOLE = 50_000
LOG = re.compile(r"\blive_push_(delivery|push|attempt)\b")
LIST: dict[str, dict[str, str]] = {
    "all": {},
    "succeeded": {"status__exact": "succeeded"},
    "failed": {"status__exact": "failed"},
    "pending": {"status__exact": "pending"},
    "of one endpoint": {"endpoint__id__exact": "ENDPOINT"},
    "of one cause": {"cause": "timeout"},
}


def measure(bench: Bench) -> Iterator[Row]:
    long, short = bench.rows or bench.scaled(LONG, 5_000), bench.scaled(SHORT, 2_000)
    calls = -(-bench.scaled(CALLS, 4) // bench.rounds)
    rounds: dict[str, dict[str, list[list[float]]]] = {}
    with two_logs(bench, short, long) as names:
        sides = {log: partial(_one_round, names[log], log, calls, rounds) for log in names}
        alternate(sides, bench.rounds)
        with connected(names["long"]):
            plans = {what: read_whole(what, action) for what, action in actions().items()}
    for what, found in rounds.items():
        compared = {f"{long:,}": found["long"], f"{short:,}": found["short"]}
        # A short table is best read whole.
        scans = plans[what] if long > MOST_READ_WHOLE else []
        note = f"READS WHOLE: {'; '.join(scans)}" if scans else ""
        medians = {side: [median(one) for one in each] for side, each in compared.items()}
        yield Row(f"{what}, {long:,} deliveries / {short:,}", "ms", medians, goal="≤ 2", note=note)
        called = {side: list(chain(*each)) for side, each in compared.items()}
        slow = {side: [quantiles(durations, n=100)[98]] for side, durations in called.items()}
        number = min(map(len, called.values()))
        yield Row(f"{what}, {long:,} deliveries / {short:,}, p99", "ms", slow, note=f"of {number:,} calls")


@contextmanager
def two_logs(bench: Bench, short: int, long: int) -> Iterator[dict[str, str]]:
    """The names of two databases that differ in the length of their logs."""
    own = str(connection.settings_dict["NAME"])
    name = f"live_push_benchmark_log_{long}" if bench.keep else f"{own}_log"
    there = _administer("SELECT 1 FROM pg_database WHERE datname = %s", name)
    complete = bool(there)
    long_log.begin(bench.scaled(PROFILES, 500))
    try:
        if there:
            _say(f"{name} is there from an earlier run.")
        else:
            _administer(f"CREATE DATABASE {name} TEMPLATE {own}")
            with connected(name):
                _say(f"{long:,} deliveries were made in {long_log.fill(long):.0f} s.")
            complete = True
        long_log.fill(short)
        yield {"long": name, "short": own}
    finally:
        if not (bench.keep and complete):
            _administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _administer(statement: str, *parameters: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def actions() -> dict[str, Callable[[], object]]:
    """What is timed, by name; each leaves the rows as they are."""
    boss = Client(SERVER_NAME="localhost")
    boss.force_login(get_user_model().objects.get())
    endpoint = str(ClientEndpoint.objects.earliest("pk").pk)
    found: dict[str, Callable[[], object]] = {"claim": _claim}
    for name, way in LIST.items():
        query = {key: endpoint if value == "ENDPOINT" else value for key, value in way.items()}
        found[f"delivery list, {name}"] = partial(_run, _statements_of_list(boss, query))
    found["convergence figure"] = partial(convergence, using="default")
    return found


def _claim() -> None:
    with world.rolled_back():
        if not any(share.deliveries for share in claim(ClaimRequest(name="benchmark", window=64), using="default")):
            raise AssertionError("Nothing was claimed.")


def _statements_of_list(boss: Client, query: dict[str, str]) -> list[str]:
    """What the page asks the database: without the time that the page takes, which is the same with any log."""

    def show() -> None:
        page = boss.get(reverse("admin:live_push_delivery_changelist"), query)
        if page.status_code != 200 or b"result_list" not in page.content:
            raise AssertionError(f"The list shows nothing for {query}.")

    with override_settings(ALLOWED_HOSTS=["localhost"]):
        return [sql for sql in statements(show) if sql.startswith("SELECT") and "live_push" in sql]


def _run(queries: list[str]) -> None:
    with connection.cursor() as cursor:
        for sql in queries:
            cursor.execute(sql)
            cursor.fetchall()


def _one_round(name: str, log: str, calls: int, rounds: dict[str, dict[str, list[list[float]]]]) -> float:
    """Time each action so often, in milliseconds, into ``rounds``."""
    with connected(name):
        for what, action in actions().items():
            for _ in range(WARM_UP):
                action()
            durations: list[float] = []
            until = time.monotonic() + MOST_SECONDS
            while len(durations) < calls and (time.monotonic() < until or len(durations) < 2):
                began = time.perf_counter()
                action()
                durations.append((time.perf_counter() - began) * 1000)
            rounds.setdefault(what, {}).setdefault(log, []).append(durations)
    return 0.0


def read_whole(what: str, action: Callable[[], object]) -> list[str]:
    """Print how the database reads, and return the steps that read the whole log."""
    read: dict[str, None] = {}
    whole: dict[str, None] = {}
    for sql in statements(action):
        if not LOG.search(sql):
            continue
        with connection.cursor() as cursor:
            # The statement comes with its values, so a % in it is one.
            cursor.execute(f"EXPLAIN (COSTS OFF) {sql}")
            steps = [row[0].strip().removeprefix("->").strip() for row in cursor.fetchall()]
        scans = [step for step in steps if " Scan" in step]
        read |= dict.fromkeys(scans)
        # Without a condition a count may begin anywhere, and ends where it was told to.
        if " WHERE " in sql or "ORDER BY" in sql:
            whole |= dict.fromkeys(step for step in scans if "Seq Scan" in step and LOG.search(step))
    _say("\n    ".join([what, *read]))
    return list(whole)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
