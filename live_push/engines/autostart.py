"""Run the worker in a thread of the web process, so that ``runserver`` delivers without a second process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from django.conf import settings
from django.core import mail
from django.db import router

from live_push import conf
from live_push.models import Delivery

from .base import current_engine
from .worker import WorkerEngine, WorkerLoop

logger = logging.getLogger("live_push.engine")

# The keys are process ids, because a fork copies the dictionary, but not the thread.
_started: dict[int, object] = {}


def start_if_wanted() -> None:
    """Start the thread, once per process, if the settings ask for it. Call this at requests and commits only."""
    pid, marker = os.getpid(), object()
    if pid in _started or not _is_wanted():
        return
    # No lock: if a process forks while a lock is held, the lock stays held in the child for ever.
    if _started.setdefault(pid, marker) is not marker:
        return
    loop = WorkerLoop(using=router.db_for_write(Delivery), engine="autostart")
    # The thread is a daemon, so that it does not delay the exit of the web server. A delivery in flight at the exit is
    # recovered when its lease expires.
    thread = threading.Thread(target=loop.run, name="live_push-autostart", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        del _started[pid]
        logger.warning("No thread can be started for the worker. It is tried again at the next request or commit.")


def _is_wanted() -> bool:
    setting = conf.current().AUTOSTART_WORKER
    if not (settings.DEBUG if setting is None else setting):
        return False
    return isinstance(current_engine(), WorkerEngine) and not _is_command() and not hasattr(mail, "outbox")


def _is_command() -> bool:
    """Return whether this process runs a management command other than a development server."""
    # In an interpreter that another program embeds, sys.argv may be empty.
    program, *arguments = sys.argv or [""]
    # The prefix also matches runserver_plus of django-extensions.
    is_server = bool(arguments) and arguments[0].startswith("runserver")
    return Path(program).name in {"manage.py", "django-admin", "__main__.py"} and not is_server
