"""Celery on Redis, for live_push's own engine and for the peer that sends by it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from . import world

BROKER = os.environ.get("BENCHMARK_REDIS", "redis://127.0.0.1:6379/11")
QUEUE = f"live_push_benchmark_{os.getpid()}"
CELERY = ("celery", "-A", "tests.benchmarks.celery_app")
WORKER = (*CELERY, "worker", "-l", "ERROR", "--without-mingle")
PROCESSES = (*WORKER, "--pool", "prefork", "-c", "2")
THREADS = (*WORKER, "--pool", "threads", "-c", "16")


@cache
def has_broker() -> bool:
    """Whether Celery has what it needs here."""
    if find_spec("celery") is None or find_spec("redis") is None:
        return False
    import redis

    try:
        redis.Redis.from_url(BROKER).ping()
    except redis.RedisError:
        return False
    return True


def environment() -> dict[str, str]:
    """What the Celery app of the measurements reads."""
    return {"LIVE_PUSH_BENCHMARK_CELERY": json.dumps({"broker_url": BROKER, "task_default_queue": QUEUE})}


@contextmanager
def workers() -> Iterator[None]:
    """live_push's Celery engine: a worker of two processes, and beat."""
    schedule = Path(os.environ["SSL_CERT_FILE"]).with_name("beat")
    beat = (*CELERY, "beat", "-l", "ERROR", "-s", str(schedule))
    told = {**world.told(ENGINE="live_push.engines.celery.CeleryEngine"), **environment()}
    try:
        with world.process(*PROCESSES, **told), world.process(*beat, **told):
            yield
    finally:
        forget()


def forget() -> None:
    """Leave nothing of the queue with the broker."""
    if has_broker():
        import redis

        client = redis.Redis.from_url(BROKER)
        for key in client.scan_iter(f"*{QUEUE}*"):
            client.delete(key)
