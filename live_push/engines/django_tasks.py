"""Django's own tasks: commits enqueue one on the host's backend; ``live_push_worker --once`` from cron sweeps.

A task carries the name of a database and nothing else: what is due, and when, is in the rows. So the backend's retries
and delays are never used, and tasks may be lost or doubled without effect but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

from .base import Engine, run_once
from .waker import Waker

try:
    from django.tasks import task, task_backends
except ImportError:
    # Django 5.2 has them as a package.
    from django_tasks import task, task_backends  # type: ignore[assignment, import-not-found, no-redef, unused-ignore]

THREADS = 16
RUN_SECONDS = 20.0
"""A task begins nothing new after so long, because a worker that is asked to stop waits for its tasks."""


@task
def look(using: str) -> int:
    """Deliver what is due in this database; returns the number of attempts."""
    return run_once(using, threads=THREADS, seconds=RUN_SECONDS)


class DjangoTasksEngine(Engine):
    """Enqueues on the backend ``default``, queue ``default``; a subclass may name others."""

    backend = "default"
    queue_name = "default"

    def __init__(self) -> None:
        self._waker = Waker(self._session)

    def wake(self, using: str) -> None:
        self._waker.wake(using)

    def check(self) -> list[CheckMessage]:
        """E006: a backend that runs tasks where they are enqueued: that would be a push inside the save."""
        backend: Any = task_backends[self.backend]
        if not type(backend).__module__.endswith(".backends.immediate"):
            return []
        sentence = (
            f"The task backend {self.backend!r} runs each task where it is enqueued: pushes need one with workers."
        )
        hint = "TASKS = {'default': {'BACKEND': 'django_tasks_db.DatabaseBackend'}}, or another with a queue."
        return [Error(sentence, hint=hint, id="live_push.E006")]

    @contextmanager
    def _session(self) -> Iterator[Callable[[str], object]]:
        try:
            yield look.using(backend=self.backend, queue_name=self.queue_name).enqueue
        finally:
            # The backend may have opened one for this thread, which nobody else closes.
            connections.close_all()
