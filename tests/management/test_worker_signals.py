"""A signal stops the worker command without waiting for a lock that the interrupted thread may hold."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from django.core.management import call_command

from live_push.engines.worker import WorkerLoop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_is_stopped_by_a_thread_of_its_own(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    stopping: list[threading.Thread] = []

    def run(loop: WorkerLoop) -> None:
        os.kill(os.getpid(), number)
        assert stopped.wait(30)

    def stop(loop: WorkerLoop) -> None:
        stopping.append(threading.current_thread())
        stopped.set()

    monkeypatch.setattr(WorkerLoop, "run", run)
    monkeypatch.setattr(WorkerLoop, "stop", stop)
    call_command("live_push_worker", verbosity=0)
    assert stopping != [threading.current_thread()]
