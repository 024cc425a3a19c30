"""The Celery engine: commits wake the workers of the host's Celery app, and a periodic task sweeps.

The message of a wake-up carries the name of a database and nothing else, because the rows say what is due and when.
Celery's own retries and delays are not used. A lost message delays deliveries until the next sweep; a duplicate has no
effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import current_app, shared_task  # type: ignore[import-untyped]
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.db import router

from live_push.models import Delivery

from .base import Engine
from .run import run_once
from .run import sweep as sweep_once
from .wake_up import Waker

THREADS = 16
RUN_SECONDS = 20.0
"""A task starts no new attempt after this time, because a Celery worker that shuts down waits for its tasks."""

SEND_SECONDS = 2.0
"""Timeout of each network operation while a wake-up is sent to the broker."""

BEAT_HINT = "app.conf.beat_schedule['live-push-sweep'] = {'task': 'live_push.sweep', 'schedule': 1.0}"

# Tasks expire because old ones are useless: one run delivers everything that is due.
options = {"ignore_result": True, "max_retries": 0, "acks_late": False, "soft_time_limit": None}


@shared_task(name="live_push.look", expires=60, **options)  # type: ignore[untyped-decorator]
def look(using: str) -> int:
    """Deliver what is due in this database, and return the number of attempts."""
    return run_once(using, threads=THREADS, seconds=RUN_SECONDS, engine="celery")


@shared_task(name="live_push.sweep", expires=10, **options)  # type: ignore[untyped-decorator]
def sweep() -> int:
    """Deliver what is due and what dead workers held, and return the number of attempts. Schedule it every second."""
    return sweep_once(router.db_for_write(Delivery), engine="celery", threads=THREADS, seconds=RUN_SECONDS)


class CeleryEngine(Engine):
    """Wakes the workers of the host's own Celery app."""

    def __init__(self) -> None:
        self._waker = Waker(_session)

    def wake(self, using: str) -> None:
        # An eager task would run here, and so send the push during the save.
        if not current_app.conf.task_always_eager:
            self._waker.wake(using)

    def check(self) -> list[CheckMessage]:
        """Return E007 without a Celery app, W003 without a periodic sweep, W004 with eager tasks."""
        if current_app.main in (None, "default"):
            sentence = "The Celery engine needs a Celery app, and the project has none."
            hint = "Create one in your project's celery.py, and import it in the project's __init__.py."
            return [Error(sentence, hint=hint, id="live_push.E007")]
        problems: list[CheckMessage] = []
        if current_app.conf.task_always_eager:
            sentence = "Celery's task_always_eager is on, so no worker is woken and nothing is delivered."
            hint = "That is fine in tests. Otherwise set CELERY_TASK_ALWAYS_EAGER = False."
            problems.append(Caution(sentence, hint=hint, id="live_push.W004"))
        if not _is_swept():
            sentence = "No periodic task sweeps, so retries are not sent, nor what was saved while the broker was down."
            problems.append(Caution(sentence, hint=BEAT_HINT, id="live_push.W003"))
        return problems


def _is_swept() -> bool:
    schedule = current_app.conf.beat_schedule or {}
    # The entries of another scheduler, such as one in the database, can't be read here.
    own_scheduler = current_app.conf.beat_scheduler != "celery.beat:PersistentScheduler"
    return own_scheduler or any(entry.get("task") == sweep.name for entry in schedule.values())


@contextmanager
def _session() -> Iterator[Callable[[str], object]]:
    """Open a connection with short timeouts. A connection of the app would have the timeouts of the host project."""
    connection = current_app.connection(
        current_app.conf.broker_write_url,
        connect_timeout=SEND_SECONDS,
        heartbeat=0,
        transport_options={
            "max_retries": 0,
            # The first two are for Redis, the other two for RabbitMQ. Each ignores the options of the other.
            "socket_connect_timeout": SEND_SECONDS,
            "socket_timeout": SEND_SECONDS,
            "read_timeout": SEND_SECONDS,
            "write_timeout": SEND_SECONDS,
        },
    )
    with connection, current_app.amqp.Producer(connection) as producer:
        yield lambda using: look.apply_async((using,), producer=producer, retry=False)
