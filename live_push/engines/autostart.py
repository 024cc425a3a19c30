"""Run the worker in a thread of the web process, so that ``runserver`` delivers without a second process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from live_push import conf
from live_push.models import Delivery

from .base import current_engine
from .worker import WorkerEngine, WorkerLoop

logger = logging.getLogger("live_push.engine")

# The keys are process ids, because a fork copies the dictionary, but not the thread.
_started: dict[int, object] = {}


def start_with_server() -> None:
    """Start the thread in a development server as soon as its apps are ready, if the settings ask for it.

    Without this, what another process saves, such as a shell, would wait for the first request to the server. Call this
    while Django is set up. It does nothing in other processes, and in the parent process of a server that reloads.
    """
    if _is_server() and _serves_itself():
        with suppress(RuntimeError):
            threading.Thread(target=_start_when_ready, name="live_push-starting", daemon=True).start()


def _start_when_ready() -> None:
    apps.ready_event.wait()
    # manage.py check reports wrong settings, and all our functions raise them.
    with suppress(ImproperlyConfigured, ImportError):
        start_if_wanted()


def start_if_wanted() -> None:
    """Start the thread, once per process, if the settings ask for it. Call this in a process that serves or saves."""
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
    is_possible = _command() is None or _is_server()
    return isinstance(current_engine(), WorkerEngine) and is_possible and not hasattr(mail, "outbox")


def _command() -> str | None:
    """Return the name of the management command that this process runs; ``None`` in a web server, for example."""
    # In an interpreter that another program embeds, sys.argv may be empty.
    program, *arguments = sys.argv or [""]
    if Path(program).name not in {"manage.py", "django-admin", "__main__.py"}:
        return None
    return arguments[0] if arguments else ""


def _is_server() -> bool:
    """Return whether this process runs a development server."""
    # The prefix also matches runserver_plus of django-extensions.
    return (_command() or "").startswith("runserver")


def _serves_itself() -> bool:
    """Return whether this process of a development server answers requests, and not a child that it restarts."""
    # Django and Werkzeug mark the child in its environment.
    is_child = "true" in {os.environ.get("RUN_MAIN"), os.environ.get("WERKZEUG_RUN_MAIN")}
    return is_child or "--noreload" in sys.argv
