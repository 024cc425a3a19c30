"""Trials in which a worker, or the database's answer to it, stands still for longer than a lease lasts.

Each trial: one worker begins to send a state of each member and stands still; the members are saved again and another
worker sends the newer states; then the first worker goes on. Nothing older may be accepted after something newer, and
one minute later every client must have every member's latest state as its last.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from django.core.management import call_command
from django.db import OperationalError, connection, transaction

from live_push.models import Attempt, ClientEndpoint, Delivery, UserProfile
from tests.engines.processes import running

from .judge import Verdict, judge
from .proxies import DatabaseProxy, HandshakeGate
from .receiver import MoodyReceiver

ORDERINGS: Final = ("in_order", "latest_only", "strict")
TOTAL_SECONDS: Final = 3
HELD_SECONDS: Final = 14
STOPPED_SECONDS: Final = 15
MEMBERS: Final = 10
MEMBERS_OF_A_STOPPED_WORKER: Final = 14
"""For each of three endpoints: 42 connections."""
AT_LEAST_SECONDS: Final = 5
"""How long the worker has at least, after it went on, to send what it should not."""
PATIENCE_SECONDS: Final = 60
"""How long pairs may be unequal after the worker went on."""

PORTS: Final = {"postgresql": 5432, "mysql": 3306}


@dataclass(frozen=True)
class Trial:
    """What came of one trial.

    ``causes``
        How many attempts ended with each error code; the empty one is success.
    ``equal_after``
        How long after the worker went on the last pair became equal, in seconds.
    """

    mode: str
    seed: int
    verdict: Verdict
    causes: dict[str, int]
    failed: int
    equal_after: float

    @property
    def is_kept(self) -> bool:
        """Nothing missing, nothing unequal, nothing given up, and nothing out of order.

        A process can be stopped between its look at the clock and the write that follows. So a stopped worker may send
        one request too late, which must heal; a held answer of the database gives it no such chance.
        """
        healed = self.verdict.missing == self.verdict.unequal == self.verdict.foreign_duplicates == self.failed == 0
        return healed and (self.mode == "stop-workers" or self.verdict.older_after_newer == 0)


def run(mode: str, transport: str, *, trials: int, seed: int) -> list[Trial]:
    """Run trials one after the other on the default database, which must be a test database and nobody else's.

    ``mode`` is ``pause-database`` or ``stop-workers``, ``transport`` a dotted path.
    """
    begin = {"pause-database": _paused_database, "stop-workers": _stopped_worker}[mode]
    done = []
    for number in range(trials):
        call_command("flush", verbosity=0, interactive=False)
        done.append(_Stage(transport, seed + number).play(mode, begin))
    return done


def report(mode: str, transport: str, trials: list[Trial]) -> None:
    """Print the figures, for people and for machines."""
    verdicts = [trial.verdict for trial in trials]
    lines = {
        "database": connection.vendor,
        "transport": transport.rpartition(".")[2],
        "trials": len(trials),
        "requests accepted": sum(verdict.accepted for verdict in verdicts),
        "missing": sum(verdict.missing for verdict in verdicts),
        "older after newer": sum(verdict.older_after_newer for verdict in verdicts),
        "unequal after a minute": sum(verdict.unequal for verdict in verdicts),
        "accepted twice, same event": sum(verdict.duplicates for verdict in verdicts),
        "one state as two events": sum(verdict.foreign_duplicates for verdict in verdicts),
        "given up": sum(trial.failed for trial in trials),
        "equal after, s, at most": max(trial.equal_after for trial in trials),
    }
    for name, value in lines.items():
        print(f"{name:>28}  {value}")  # noqa: T201
    print(json.dumps({"mode": mode, **lines, "each": [asdict(trial) for trial in trials]}))  # noqa: T201


class _Stage:
    """The client, the members and the workers of one trial."""

    def __init__(self, transport: str, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.receiver = MoodyReceiver(seed)
        self.saves = 0
        self._settings = {
            **self.receiver.server.settings,
            "TRANSPORT": transport,
            "TOTAL_TIMEOUT_SECONDS": TOTAL_SECONDS,
            "CONNECT_TIMEOUT_SECONDS": TOTAL_SECONDS,
            "RETRY_POLICIES": {"quick": [0.5] * 2000},
        }

    def play(self, mode: str, begin: Any) -> Trial:
        """Let it happen, then wait until all pairs are equal, and judge."""
        with self.receiver.server, ExitStack() as processes:
            begin(self, processes)
            goes_on_at = equal_at = time.monotonic()
            while (now := time.monotonic()) < goes_on_at + PATIENCE_SECONDS:
                if self.judge().unequal or Delivery.objects.live().exists():
                    equal_at = now
                elif now > goes_on_at + AT_LEAST_SECONDS:
                    break
                time.sleep(0.2)
            equal_after = equal_at - goes_on_at
        causes = Counter(Attempt.objects.values_list("error_code", flat=True))
        failed = Delivery.objects.filter(status="failed").count()
        return Trial(mode, self.seed, self.judge(), dict(causes), failed, round(equal_after, 1))

    def judge(self) -> Verdict:
        """What the client's record says now."""
        states = {pk: str(city) for pk, city in UserProfile.objects.values_list("pk", "city")}
        return judge(list(self.receiver.accepted), states, [f"/{ordering}" for ordering in ORDERINGS])

    def open(self, port: int, members: int) -> None:
        """Make endpoints behind this port, and members whose first state is recorded for them."""
        for ordering in ORDERINGS:
            ClientEndpoint.objects.create(
                name=f"chaos {ordering}",
                url=f"https://127.0.0.1:{port}/{ordering}",
                ordering=ordering,
                retry_policy="quick",
                max_in_flight=MEMBERS_OF_A_STOPPED_WORKER,
            )
        UserProfile.objects.bulk_create([UserProfile(city="first") for _ in range(members)])

    def save_all(self) -> None:
        """Save every member, each in a transaction of its own."""
        for pk in UserProfile.objects.order_by("pk").values_list("pk", flat=True):
            self.save(pk)

    def save(self, pk: int) -> None:
        """Save one member."""
        self.saves += 1
        with transaction.atomic():
            profile = UserProfile.objects.select_for_update().get(pk=pk)
            profile.city = f"{self.seed}-{self.saves}"
            profile.save()

    def go_on_saving(self, seconds: float) -> None:
        """Save now and then, for so long."""
        ids = list(UserProfile.objects.values_list("pk", flat=True))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.random.uniform(0.1, 0.5))
            self.save(self.random.choice(ids))

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker in a process of its own."""
        command = "django", "live_push_worker", "--threads", "64", "-v", "0", "--skip-checks"
        with running(*command, live_push=self._settings, stderr=subprocess.DEVNULL, **environment) as process:
            yield process


def _paused_database(stage: _Stage, processes: ExitStack) -> None:
    """The database's answer to the start of the first worker's attempts is held."""
    proxy = DatabaseProxy(("127.0.0.1", int(connection.settings_dict["PORT"] or PORTS[connection.vendor])))
    processes.enter_context(proxy)
    stage.open(stage.receiver.server.port, MEMBERS)
    processes.enter_context(stage.worker(LIVE_PUSH_TEST_DATABASE_PORT=str(proxy.port)))
    assert proxy.holds.wait(PATIENCE_SECONDS), "The worker started nothing."
    held_at = time.monotonic()
    stage.save_all()
    processes.enter_context(stage.worker())
    stage.go_on_saving(held_at + HELD_SECONDS - time.monotonic())
    proxy.released.set()


def _stopped_worker(stage: _Stage, processes: ExitStack) -> None:
    """The first worker is stopped in the middle of its TLS handshakes."""
    gate = HandshakeGate(("127.0.0.1", stage.receiver.server.port))
    processes.enter_context(gate)
    stage.open(gate.port, MEMBERS_OF_A_STOPPED_WORKER)
    first = processes.enter_context(stage.worker())
    assert gate.wait_for(MEMBERS_OF_A_STOPPED_WORKER * len(ORDERINGS), PATIENCE_SECONDS), "Too few connections."
    _stop(first)
    stopped_at = time.monotonic()
    # Whatever it goes on with after the stop is in its buffers by then.
    gate.opened.set()
    stage.save_all()
    processes.enter_context(stage.worker())
    stage.go_on_saving(stopped_at + STOPPED_SECONDS - time.monotonic())
    first.send_signal(signal.SIGCONT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a worker, but not while it holds SQLite's one lock, because then no save would succeed."""
    while True:
        process.send_signal(signal.SIGSTOP)
        if connection.vendor != "sqlite" or _is_free():
            return
        process.send_signal(signal.SIGCONT)
        threading.Event().wait(0.02)


def _is_free() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 500")
        with transaction.atomic():
            pass
    except OperationalError:
        return False
    finally:
        # The next connection has the timeout of the settings again.
        connection.close()
    return True
