"""How long a change is on its way: from the commit of a save to the client's answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from . import world
from .receiver import Receiver, check_complete

SETTLING_IN_SECONDS = 3
"""What is made before everybody is awake, connected and compiled is checked, but not measured."""

Moments = dict[int, tuple[float, float]]
"""By member: when it was due, and when it was made."""


@dataclass(frozen=True)
class Trip:
    """Moments of one save, or of one bare POST; all on the machine's monotonic clock, which its processes share.

    ``began`` is the end of the save's commit, or the start of the POST.
    """

    due: float
    began: float
    answered: float

    @property
    def ms(self) -> float:
        """From the commit on."""
        return (self.answered - self.began) * 1000

    @property
    def ms_from_due(self) -> float:
        """With what the save took, and with the time by which it was late."""
        return (self.answered - self.due) * 1000


def trips(
    client: Receiver, ids: list[int], *, rate: int, kind: str = "save", settings: dict[str, Any] | None = None
) -> list[Trip]:
    """Those of these members, so many a second, but for the first. Raises where one is missing or came twice."""
    with steady(client, ids, rate=rate, kind=kind, settings=settings) as finish:
        moments = finish()
        receipts = client.wait_for(len(ids))
        world.all_settled(endpoint__url=url(client))
    check_complete(receipts + client.take(), set(ids))
    made = sorted((Trip(*moments[receipt.member], receipt.at) for receipt in receipts), key=lambda trip: trip.due)
    return made[min(SETTLING_IN_SECONDS * rate, len(made) // 2) :]


@contextmanager
def steady(
    client: Receiver, ids: list[int], *, rate: float, kind: str = "save", settings: dict[str, Any] | None = None
) -> Iterator[Callable[[], Moments]]:
    """A process that saves each of these members; yields what waits for its last one.

    ``settings`` are its own, beside those of the place.
    """
    given = json.loads(os.environ["LIVE_PUSH_BENCHMARK"])
    given["live_push"] |= settings or {}
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tests.benchmarks.steady", kind, str(rate), url(client)],
        env={**os.environ, "LIVE_PUSH_BENCHMARK": json.dumps(given)},
        cwd=world.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(ids) + "\n")
        process.stdin.flush()
        read = process.stdout.readline
        try:
            yield lambda: dict(zip(ids, json.loads(read()), strict=True))
        finally:
            process.kill()


def url(client: Receiver) -> str:
    """Where the pushes go that are waited for."""
    return f"{client.url}/push"


def percentile(values: Iterable[float], percent: float) -> float:
    """The least value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
