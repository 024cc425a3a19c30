"""``resend_profile --all`` in a process of its own: ``python -m tests.benchmarks.resending AFTER``.

Prints how long the command took and the most memory that the process ever held.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import django
from django.core.management import call_command


def main(after: str) -> None:
    django.setup()
    began = time.perf_counter()
    call_command("resend_profile", "--all", "--yes", "--after", after, verbosity=0)
    seconds = time.perf_counter() - began
    # Linux tells kilobytes.
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "megabytes": megabytes}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
