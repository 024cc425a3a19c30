"""The engine for Django's tasks: commits enqueue a task, and ``live_push_worker --once``, run by cron, sweeps.

A task carries the name of a database and nothing else, because the rows say what is due and when. The retries and
delays of the task backend are not used. A lost task delays deliveries until the next sweep; a duplicate has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

from .base import Engine
from .run import run_once
from .wake_up import Waker

try:
    from django.tasks import task, task_backends
except ImportError:
    # For Django 5.2, the tasks are a separate package.
    from django_tasks import task, task_backends  # type: ignore[assignment, import-not-found, no-redef, unused-ignore]

THREADS = 16
RUN_SECONDS = 20.0
"""A task starts no new attempt after this time, because a task worker that shuts down waits for its tasks."""


@task
def look(using: str) -> int:
    """Deliver what is due in this database, and return the number of attempts."""
    return run_once(using, threads=THREADS, seconds=RUN_SECONDS, engine="django.tasks")


class DjangoTasksEngine(Engine):
    """Enqueues tasks on the backend ``default``, queue ``default``. A subclass may name others."""

    backend = "default"
    queue_name = "default"

    def __init__(self) -> None:
        self._waker = Waker(self._session)

    def wake(self, using: str) -> None:
        self._waker.wake(using)

    def check(self) -> list[CheckMessage]:
        """Return E006 if the backend runs tasks while they are enqueued: a push would then be sent during the save."""
        backend: Any = task_backends[self.backend]
        if not type(backend).__module__.endswith(".backends.immediate"):
            return []
        sentence = (
            f"The task backend {self.backend!r} runs each task while it is enqueued. Pushes need one with workers."
        )
        hint = "TASKS = {'default': {'BACKEND': 'django_tasks_db.DatabaseBackend'}}, or another with a queue."
        return [Error(sentence, hint=hint, id="live_push.E006")]

    @contextmanager
    def _session(self) -> Iterator[Callable[[str], object]]:
        try:
            yield look.using(backend=self.backend, queue_name=self.queue_name).enqueue
        finally:
            # The backend may have opened database connections in this thread. Django closes connections at the end of a
            # request, but this thread handles none.
            connections.close_all()
