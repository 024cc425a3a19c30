"""The clock of this machine with which the deadline of a start is compared.

The outbox sets the deadline and ``delivery/`` compares it, both in the worker's process. So the comparison does not
depend on the database's clock or on changes of the system time.
"""

from __future__ import annotations

import time
from typing import Final

# Unlike CLOCK_MONOTONIC, CLOCK_BOOTTIME also counts while the machine is suspended. Only Linux has it.
_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", None)


def local_now() -> float:
    """Return the seconds of a local clock that never goes back; only differences between two calls mean anything."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
