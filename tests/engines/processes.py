"""Workers in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60


@contextmanager
def running(
    *arguments: str, live_push: Mapping[str, Any], stderr: int | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m …`` on the test database, with these settings of ours, stopped at the end."""
    process = subprocess.Popen(  # noqa: S603  (the tests' own words)
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.engines.worker_settings",
            "LIVE_PUSH_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "LIVE_PUSH_TEST_SETTINGS": json.dumps(live_push),
            **environment,
        },
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; nothing depends on how long it takes."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "It did not come true."
        time.sleep(0.05)
