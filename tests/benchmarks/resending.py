"""``resend_profile --all`` in a process of its own: ``python -m tests.benchmarks.resending AFTER``.

Prints how long the command took and the most memory that the process ever held.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django
from django.core.management import call_command


def main(after: str) -> None:
    django.setup()
    # Only now, because models can't be imported before.
    from .world import memory_mb

    began = time.perf_counter()
    call_command("resend_profile", "--all", "--yes", "--after", after, verbosity=0)
    seconds = time.perf_counter() - began
    # Not by getrusage(): on Linux its maximum outlives exec(), and so would be that of the process we were forked from.
    print(json.dumps({"seconds": seconds, "megabytes": memory_mb(os.getpid(), "VmHWM")}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
