"""One chaos run: writers, workers that are killed, a moody receiver, and at the end the judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from django.db import connection

from live_push.models import ClientEndpoint, Delivery, UserProfile

from .judge import Verdict, judge
from .receiver import MOODS, MoodyReceiver

ROOT = Path(__file__).parents[2]
ORDERINGS = ("in_order", "latest_only", "strict")
STUCK_AFTER_SECONDS = 120


@dataclass(frozen=True)
class Plan:
    """What to do: so many updates of so many profiles, so many kills, by these kinds of worker."""

    updates: int = 600
    profiles: int = 60
    kills: int = 12
    workers: int = 2
    writers: int = 2
    seed: int = 1
    engines: tuple[str, ...] = ("worker",)
    """``worker`` or ``celery``; with several, the killed worker's successor is of the next kind."""
    broker: str = ""
    disturb: str = ""
    """A command of the shell that disturbs everybody, such as one that restarts the database; run three times."""
    transport: str = "transport.RequestsTransport"
    """Whose module is in ``live_push.delivery``."""


@dataclass
class Figures:
    """What came of it."""

    plan: Plan
    database: str
    verdict: Verdict
    kills: int = 0
    disturbances: int = 0
    terminal: int = 0
    seconds: float = 0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Nothing missing, nothing out of order, nothing given up."""
        return self.verdict.is_kept and self.terminal == 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "is_kept": self.is_kept}


def run(plan: Plan) -> Figures:
    """Run on the default database, which must be a test database with its tables, and nobody else's."""
    began = time.monotonic()
    random = Random(plan.seed)
    receiver = MoodyReceiver(plan.seed)
    with receiver.server as server:
        names = [f"/{ordering}" for ordering in ORDERINGS]
        for ordering in ORDERINGS:
            ClientEndpoint.objects.create(
                name=f"chaos {ordering}",
                url=f"{server.url}{ordering}",
                ordering=ordering,
                retry_policy="quick",
                max_in_flight=16,
            )
        UserProfile.objects.bulk_create([UserProfile(city="first") for _ in range(plan.profiles)])
        ids = list(UserProfile.objects.order_by("pk").values_list("pk", flat=True))
        connection.close()
        house = _House(plan, server.settings)
        try:
            house.begin(ids)
            while house.is_writing() or house.kills < plan.kills:
                house.disturb_now_and_then()
                receiver.mood = random.choice(MOODS)
                time.sleep(random.uniform(0.2, 0.8))
                if house.kills < plan.kills:
                    house.kill_one(random)
            receiver.mood = "well"
            terminal = _wait_until_quiet()
        finally:
            house.end()
    states = {pk: str(city) for pk, city in UserProfile.objects.values_list("pk", "city")}
    return Figures(
        plan=plan,
        database=connection.vendor,
        verdict=judge(receiver.accepted, states, names),
        kills=house.kills,
        disturbances=house.disturbances,
        terminal=terminal,
        seconds=round(time.monotonic() - began, 1),
        answers=dict(receiver.answers),
    )


def _wait_until_quiet() -> int:
    """Wait until nothing is live any more, or nothing moves; returns how many deliveries were given up."""
    # The connection may be one that a restart of the database has cut.
    connection.close()
    left, moved_at = Delivery.objects.live().count(), time.monotonic()
    while left and time.monotonic() < moved_at + STUCK_AFTER_SECONDS:
        time.sleep(0.5)
        before, left = left, Delivery.objects.live().count()
        if left != before:
            moved_at = time.monotonic()
    # What is still live is found missing by the judge.
    return Delivery.objects.filter(status="failed").count()


class _House:
    """The processes of a run."""

    def __init__(self, plan: Plan, settings: dict[str, Any]) -> None:
        self.plan = plan
        self.kills = 0
        self.disturbances = 0
        self._workers: list[subprocess.Popen[bytes]] = []
        self._writers: list[subprocess.Popen[bytes]] = []
        self._beat: subprocess.Popen[bytes] | None = None
        self._started = 0
        engines = {
            "worker": "live_push.engines.worker.WorkerEngine",
            "celery": "live_push.engines.celery.CeleryEngine",
        }
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.engines.worker_settings",
            "LIVE_PUSH_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "LIVE_PUSH_TEST_SETTINGS": json.dumps(
                {
                    **settings,
                    "ENGINE": engines[plan.engines[-1]],
                    "TRANSPORT": f"live_push.delivery.{plan.transport}",
                    "TOTAL_TIMEOUT_SECONDS": 1,
                    "CONNECT_TIMEOUT_SECONDS": 1,
                    "RETRY_POLICIES": {"quick": [0.5] * 2000},
                }
            ),
        }
        if "celery" in plan.engines:
            self._environment |= {
                "LIVE_PUSH_TEST_BROKER": plan.broker,
                "LIVE_PUSH_TEST_QUEUE": f"live_push_chaos_{os.getpid()}",
            }

    def begin(self, ids: list[int]) -> None:
        """Start everybody."""
        for _ in range(self.plan.workers):
            self._workers.append(self._start_worker())
        if "celery" in self.plan.engines:
            beat = ["celery", "-A", "tests.engines.celery_app", "beat", "-l", "ERROR", "--schedule", "/dev/null"]
            self._beat = self._start(*beat[:-2], "-s", f"/tmp/live_push_beat_{os.getpid()}")  # noqa: S108
        share = len(ids) // self.plan.writers
        for number in range(self.plan.writers):
            some = ids[number * share : (number + 1) * share]
            updates = self.plan.updates // self.plan.writers
            words = [str(word) for word in (some[0], some[-1], updates, self.plan.seed * 1000 + number)]
            patient = ["--patient"] if self.plan.disturb else []
            self._writers.append(self._start("tests.chaos.writer", *words, *patient))

    def is_writing(self) -> bool:
        """Whether a writer is at work; raises where one failed, because a save must not."""
        codes = [writer.poll() for writer in self._writers]
        if any(code not in (None, 0) for code in codes):
            raise RuntimeError("A writer failed: a save must never fail for the sake of a push.")
        return None in codes

    def kill_one(self, random: Random) -> None:
        """Kill a worker in the middle of whatever it does, and start its successor."""
        number = random.randrange(len(self._workers))
        _kill(self._workers[number])
        self.kills += 1
        self._workers[number] = self._start_worker()

    def disturb_now_and_then(self) -> None:
        """Three times over the run, at a quarter, a half and three quarters of the kills."""
        if self.plan.disturb and self.kills * 4 >= self.plan.kills * (self.disturbances + 1) and self.disturbances < 3:
            self.disturbances += 1
            subprocess.run(self.plan.disturb, shell=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S602

    def end(self) -> None:
        """Stop everybody."""
        for process in [*self._writers, *self._workers, *([self._beat] if self._beat else [])]:
            _kill(process)

    def _start_worker(self) -> subprocess.Popen[bytes]:
        engine = self.plan.engines[self._started % len(self.plan.engines)]
        self._started += 1
        if engine == "celery":
            app = ["celery", "-A", "tests.engines.celery_app", "worker"]
            return self._start(*app, "-l", "ERROR", "-c", "1", "-n", f"chaos{self._started}@%h", "--without-mingle")
        # Without checks: where engines are switched, the worker's process has no Celery app, and needs none.
        return self._start("django", "live_push_worker", "--threads", "16", "-v", "0", "--skip-checks")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # A session of its own, so that a killed Celery worker takes its pool along.
        return subprocess.Popen(  # noqa: S603  (our own words)
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if "celery" in arguments else None,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(figures: Figures) -> None:
    """Print the figures, for people and for machines."""
    verdict = figures.verdict
    lines = {
        "database": figures.database,
        "engines": ", ".join(figures.plan.engines) + (f" on {figures.plan.broker}" if figures.plan.broker else ""),
        "updates of profiles": f"{figures.plan.updates:,} of {figures.plan.profiles:,}",
        "workers killed": figures.kills,
        "disturbances": f"{figures.disturbances} times: {figures.plan.disturb}" if figures.plan.disturb else "none",
        "requests accepted": f"{verdict.accepted:,}",
        "missing": verdict.missing,
        "older after newer": verdict.older_after_newer,
        "accepted twice, same event": verdict.duplicates,
        "one state as two events": verdict.foreign_duplicates,
        "given up": figures.terminal,
        "seconds": figures.seconds,
    }
    for name, value in lines.items():
        print(f"{name:>28}  {value}")  # noqa: T201
    print(json.dumps(figures.as_dict()))  # noqa: T201
