"""What every engine is, and the one loop body that all of them share."""

from __future__ import annotations

import math
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Collection

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from live_push import conf
from live_push.delivery.transport import Transport
from live_push.models.clock import db_now
from live_push.outbox import leases
from live_push.outbox.catch_up import catch_up

from . import heartbeat
from .pipeline import Pipeline


class Engine:
    """Runs deliveries; subclasses say how they are woken."""

    def wake(self, using: str) -> None:
        """Hint that work is due. It may be lost or doubled, returns at once, and does not raise."""

    def check(self) -> list[CheckMessage]:
        """What is wrong with this engine's configuration."""
        return []


def make_transport() -> Transport:
    """A transport of the kind that the setting names."""
    transport: Transport = import_string(conf.current().TRANSPORT)()
    return transport


def worker_name() -> str:
    """A name of its own for each worker: host, process and a little chance, because processes come again."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def run_once(
    using: str,
    *,
    threads: int = 8,
    only: Collection[int] | None = None,
    dice: Callable[[], float] = random.random,
    transport: Transport | None = None,
    seconds: float | None = None,
) -> int:
    """Deliver all that is due now (or those of ``only`` that are), and return how many attempts were settled.

    After ``seconds`` nothing more is begun, however much is due: whoever runs tasks wants them to end.
    """
    own = transport or make_transport()
    pipeline = Pipeline(using=using, name=worker_name(), threads=threads, transport=own, dice=dice, only=only)
    ends = math.inf if seconds is None else time.monotonic() + seconds
    try:
        return pipeline.run_until_idle(enough=lambda: time.monotonic() >= ends)
    finally:
        pipeline.close()
        if transport is None:
            own.close()


def sweep(using: str, *, engine: str, threads: int = 8, seconds: float | None = None) -> int:
    """What an engine without a loop of its own does every so often: all that nobody was woken for.

    Leaves a sign of life, frees what a dead worker held, and delivers what is due; returns as :func:`run_once` does.
    """
    heartbeat.beat(heartbeat.name_for_tasks(engine), engine, db_now(using), using=using)
    leases.release_stalled(using=using, dice=random.random)
    catch_up(using=using)
    return run_once(using, threads=threads, seconds=seconds)
