"""What the measurements are made of: members, endpoints, a full outbox, and workers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction

from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    Push,
    UserProfile,
    WorkerHeartbeat,
)
from live_push.models.clock import db_now
from live_push.outbox import record
from live_push.rules.batched import batched
from tests.factories import ClientEndpointFactory, GoldenProfileFactory
from tests.support import multiply_profiles

from .receiver import Receiver, receiving

FAST = "live_push.delivery.fast.FastTransport"
"""The transport that is an extra."""

ROOT = Path(__file__).parents[2]


def members(number: int) -> list[int]:
    """The ids of so many members that look like the published sample."""
    if not UserProfile.objects.exists():
        GoldenProfileFactory(id=None, user_name="ada", email_address="ada@example.com")
    multiply_profiles(number)
    return list(UserProfile.objects.order_by("pk").values_list("pk", flat=True)[:number])


def endpoints(*urls: str, in_flight: int = 8) -> list[ClientEndpoint]:
    """Exactly these endpoints, active."""
    empty_outbox()
    ClientEndpoint.objects.all().delete()
    return [ClientEndpointFactory(url=url, max_in_flight=in_flight) for url in urls]


def empty_outbox() -> None:
    """As though nothing had ever been pushed."""
    for model in (Attempt, Delivery, Push, Confirmation):
        table = connection.ops.quote_name(model._meta.db_table)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"TRUNCATE {table} CASCADE")
            else:
                cursor.execute(f"DELETE FROM {table}")  # noqa: S608
    EndpointHealth.objects.update(slots={}, rests_until=None)
    WorkerHeartbeat.objects.all().delete()


def fill_outbox(ids: list[int]) -> None:
    """One push with its body for each member and endpoint; due in a day, so that :func:`go` is the start."""
    with transaction.atomic():
        for some in batched(ids, 1000):
            record.record(some, "updated", using="default")
        Delivery.objects.update(next_attempt_at=db_now("default") + timedelta(days=1))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def go() -> None:
    """Make all that waits due at once."""
    Delivery.objects.filter(status="pending").update(next_attempt_at=db_now("default"))


def all_settled(*, seconds: float = 60, **which: object) -> None:
    """Wait until every delivery has succeeded, or every one of these."""
    until = time.monotonic() + seconds
    while Delivery.objects.filter(**which).exclude(status="succeeded").exists():
        if time.monotonic() > until:
            raise TimeoutError("Some deliveries have not succeeded.")
        time.sleep(0.05)


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m …`` in a process group of its own, stopped at the end."""
    log = Path(os.environ.get("BENCHMARK_LOG", os.devnull))
    with log.open("ab") as output:
        started = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def threads_for(in_flight: int) -> int:
    """Return the smallest ``--threads`` with which a worker keeps this number of requests to one endpoint in flight.

    A worker keeps a quarter of its threads for endpoints that have nothing in flight.
    """
    return in_flight * 4 // 3


def told(**live_push: object) -> dict[str, str]:
    """The environment of a process in which these settings of ``LIVE_PUSH`` are added to those of the place."""
    given = json.loads(os.environ["LIVE_PUSH_BENCHMARK"])
    given["live_push"] |= live_push
    return {"LIVE_PUSH_BENCHMARK": json.dumps(given)}


@contextmanager
def workers(number: int = 1, *, threads: int = 64, **live_push: object) -> Iterator[list[int]]:
    """The process ids of so many workers that are ready, with these settings."""
    with ExitStack() as stack:
        command = ("django", "live_push_worker", "--threads", str(threads))
        started = [stack.enter_context(process(*command, **told(**live_push))) for _ in range(number)]
        until = time.monotonic() + 60
        while WorkerHeartbeat.objects.count() < number:
            if time.monotonic() > until:
                raise TimeoutError("The workers do not start.")
            time.sleep(0.05)
        yield [worker.pid for worker in started]


@contextmanager
def client(*, delay_ms: float = 0) -> Iterator[Receiver]:
    """A client's server."""
    with receiving(os.environ["LIVE_PUSH_BENCHMARK_CERTIFICATE"], delay_ms=delay_ms) as receiver:
        yield receiver


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """What a process holds now; with ``VmHWM`` the most it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise ValueError(what)


@contextmanager
def rolled_back() -> Iterator[None]:
    """What happens here never happened."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
