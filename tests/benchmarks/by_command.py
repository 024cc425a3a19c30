"""One command of ours in a process of its own: ``python -m tests.benchmarks.by_command resend_profile --all --yes``.

Prints how long it took and the most memory that the process ever held.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import django
from django.core.management import call_command

ROOT = Path(__file__).parents[2]


def by_command(*words: str) -> tuple[float, float]:
    """The seconds that the command took, and the peak memory of its process in MB."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.by_command", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["megabytes"]


def main(*words: str) -> None:
    django.setup()
    # Only now, because models can't be imported before.
    from .world import memory_mb

    began = time.perf_counter()
    call_command(*words, verbosity=0)
    seconds = time.perf_counter() - began
    # Not by getrusage(): on Linux its maximum outlives exec(), and so would be that of the process we were forked from.
    print(json.dumps({"seconds": seconds, "megabytes": memory_mb(os.getpid(), "VmHWM")}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
