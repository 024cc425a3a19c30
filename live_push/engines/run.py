"""Deliver what is due, then stop: the work of task queues, of ``live_push_worker --once`` and of tests."""

from __future__ import annotations

import math
import os
import random as stdlib_random
import socket
import time
import uuid
from collections.abc import Callable, Collection

from django.utils.module_loading import import_string

from live_push import conf
from live_push.delivery.transport import Transport
from live_push.engines import heartbeat
from live_push.engines.base import do_housekeeping
from live_push.engines.pipeline import Pipeline
from live_push.engines.session import worker_session
from live_push.figures import stored_convergence
from live_push.outbox import release


def make_transport() -> Transport:
    """Return a new transport of the class that the setting ``TRANSPORT`` names."""
    transport: Transport = import_string(conf.current().TRANSPORT)()
    return transport


def worker_name() -> str:
    """Return a unique name: host, process id and a random suffix, because process ids are reused."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def run_once(
    using: str,
    *,
    threads: int = 8,
    only: Collection[int] | None = None,
    random: Callable[[], float] = stdlib_random.random,
    transport: Transport | None = None,
    seconds: float | None = None,
    engine: str = "once",
) -> int:
    """Deliver everything that is due now, and return how many attempts were settled.

    ``only`` limits the run to the deliveries with these ids. After ``seconds`` no new attempt is started, no matter how
    many deliveries are due.
    """
    own = transport or make_transport()
    pipeline = Pipeline(
        using=using, name=worker_name(), threads=threads, transport=own, random=random, only=only, engine=engine
    )
    ends = math.inf if seconds is None else time.monotonic() + seconds
    try:
        with worker_session(using):
            settled = pipeline.run_until_idle(enough=lambda: time.monotonic() >= ends)
            pipeline.heartbeat.remove()
        return settled
    finally:
        pipeline.close()
        if transport is None:
            own.close()


def sweep(using: str, *, engine: str, threads: int = 8, seconds: float | None = None) -> int:
    """Do the periodic work of an engine that has no worker loop, and return how many attempts were settled.

    It writes a heartbeat, releases what dead workers held, does housekeeping, delivers what is due, and then counts the
    stored convergence for at most 3 s. ``seconds`` limits the time of the deliveries as in :func:`run_once`.
    """
    with worker_session(using):
        heartbeat.beat(heartbeat.name_for_tasks(engine), engine, using=using)
        release.release_stalled(using=using, random=stdlib_random.random)
        do_housekeeping(using)
    settled = run_once(using, threads=threads, seconds=seconds, engine=engine)
    with worker_session(using):
        stored_convergence.count_next_slice(using=using, catching_up=True)
    return settled
