"""The worker in a thread of the web process, so that ``runserver`` alone pushes."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from django.conf import settings
from django.core import mail
from django.db import router

from live_push import conf
from live_push.models import Delivery

from .worker import WorkerEngine, WorkerLoop

_lock = threading.Lock()
_started_in: int | None = None


def start_if_wanted() -> None:
    """Start the thread, once per process, where the setting asks for it; to be called at requests and commits only."""
    global _started_in
    if _started_in == os.getpid() or not _is_wanted():
        return
    with _lock:
        if _started_in == os.getpid():
            return
        _started_in = os.getpid()
    loop = WorkerLoop(using=router.db_for_write(Delivery), engine="autostart")
    # A daemon: the web server's end is not delayed, and what was under way is found again by its lease.
    threading.Thread(target=loop.run, name="live_push-autostart", daemon=True).start()


def _is_wanted() -> bool:
    from . import current  # The package imports this room's siblings.

    wanted = conf.current().AUTOSTART_WORKER
    if not (settings.DEBUG if wanted is None else wanted):
        return False
    return isinstance(current(), WorkerEngine) and not _is_command() and not hasattr(mail, "outbox")


def _is_command() -> bool:
    """Whether this process runs a management command other than a development server."""
    # An interpreter inside another program may have none.
    program, *arguments = sys.argv or [""]
    # By its beginning: django-extensions, for one, calls its own runserver_plus.
    serves = bool(arguments) and arguments[0].startswith("runserver")
    return Path(program).name in {"manage.py", "django-admin", "__main__.py"} and not serves
