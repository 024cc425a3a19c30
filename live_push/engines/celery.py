"""Celery: commits wake its workers through RabbitMQ or Redis; a periodic task sweeps up what nobody was woken for.

A message carries the name of a database and nothing else: what is due, and when, is in the rows. So Celery's own
retries and delays are never used, and messages may be lost or doubled without effect but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import current_app, shared_task  # type: ignore[import-untyped]
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.db import router

from live_push.models import Delivery

from .base import Engine, run_once
from .base import sweep as sweep_once
from .waker import Waker

THREADS = 16
RUN_SECONDS = 20.0
"""A task begins nothing new after so long, because a worker that is asked to stop waits for its tasks."""

SEND_SECONDS = 2.0
"""What the broker has for each step of taking a hint."""

BEAT_HINT = "app.conf.beat_schedule['live-push-sweep'] = {'task': 'live_push.sweep', 'schedule': 1.0}"

# Hints that waited for a worker so long are of no use: one sweep does the work of them all.
options = {"ignore_result": True, "max_retries": 0, "acks_late": False, "soft_time_limit": None}


@shared_task(name="live_push.look", expires=60, **options)  # type: ignore[untyped-decorator]
def look(using: str) -> int:
    """Deliver what is due in this database; returns the number of attempts."""
    return run_once(using, threads=THREADS, seconds=RUN_SECONDS)


@shared_task(name="live_push.sweep", expires=10, **options)  # type: ignore[untyped-decorator]
def sweep() -> int:
    """Deliver what is due and what dead workers held; to be scheduled every second. Returns the number of attempts."""
    return sweep_once(router.db_for_write(Delivery), engine="celery", threads=THREADS, seconds=RUN_SECONDS)


class CeleryEngine(Engine):
    """Wakes the workers of the host's own Celery app."""

    def __init__(self) -> None:
        self._waker = Waker(_session)

    def wake(self, using: str) -> None:
        # Eager tasks run where they are called: that would be a push inside the save.
        if not current_app.conf.task_always_eager:
            self._waker.wake(using)

    def check(self) -> list[CheckMessage]:
        """E007: no Celery app. W003: nothing sweeps. W004: eager tasks."""
        if current_app.main in (None, "default"):
            sentence = "The Celery engine finds no Celery app."
            hint = "Make one in your project's celery.py, and import it in the project's __init__.py."
            return [Error(sentence, hint=hint, id="live_push.E007")]
        found: list[CheckMessage] = []
        if current_app.conf.task_always_eager:
            sentence = "Celery's task_always_eager is on: commits wake nobody, and nothing is delivered."
            hint = "In tests that is as well; else set CELERY_TASK_ALWAYS_EAGER = False."
            found.append(Caution(sentence, hint=hint, id="live_push.W004"))
        if not _is_swept():
            sentence = "No periodic task sweeps: retries are not sent, nor what was saved while the broker was down."
            found.append(Caution(sentence, hint=BEAT_HINT, id="live_push.W003"))
        return found


def _is_swept() -> bool:
    schedule = current_app.conf.beat_schedule or {}
    # Another scheduler keeps its entries where we can't see them, such as in the database.
    own_scheduler = current_app.conf.beat_scheduler != "celery.beat:PersistentScheduler"
    return own_scheduler or any(entry.get("task") == sweep.name for entry in schedule.values())


@contextmanager
def _session() -> Iterator[Callable[[str], object]]:
    """A connection of our own, because the app's waits for the broker as long as the host likes."""
    connection = current_app.connection(
        current_app.conf.broker_write_url,
        connect_timeout=SEND_SECONDS,
        heartbeat=0,
        transport_options={
            "max_retries": 0,
            # Redis, then RabbitMQ; each ignores the other's.
            "socket_connect_timeout": SEND_SECONDS,
            "socket_timeout": SEND_SECONDS,
            "read_timeout": SEND_SECONDS,
            "write_timeout": SEND_SECONDS,
        },
    )
    with connection, current_app.amqp.Producer(connection) as producer:
        yield lambda using: look.apply_async((using,), producer=producer, retry=False)
