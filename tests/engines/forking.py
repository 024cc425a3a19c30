"""A process that delivers by itself and forks; the parent then ends its own loop, and the child saves two members."""

from __future__ import annotations

import os
import sys
import threading
import warnings

import django

django.setup()

from django.db import connections  # noqa: E402

from live_push.engines import worker  # noqa: E402
from live_push.models import Delivery  # noqa: E402
from tests.engines.processes import eventually  # noqa: E402
from tests.factories import UserProfileFactory  # noqa: E402


def main() -> None:
    UserProfileFactory(first_name="Saved by the parent")
    # Neither OpenSSL nor SQLite supports a fork while a thread is inside them.
    eventually(Delivery.objects.filter(status="succeeded").exists)
    (loop,) = worker._loops
    connections.close_all()
    parent_lives, parent_holds = os.pipe()
    # At the moment of a fork any lock may be held by another thread, such as the one of the event that wakes the loop.
    with loop._woken._cond, warnings.catch_warnings():
        eventually(lambda: waits_at(loop._woken))
        warnings.simplefilter("ignore", DeprecationWarning)
        if os.fork() == 0:
            os.close(parent_holds)
            UserProfileFactory.create_batch(2, first_name="Saved by the child")
            os.read(parent_lives, 1)
            os._exit(0)
    loop.stop()
    threading.Event().wait()


def waits_at(event: threading.Event) -> bool:
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "live_push-autostart")
    return sys._current_frames()[thread.ident or 0].f_locals.get("self") in (event, event._cond)


if __name__ == "__main__":
    main()
