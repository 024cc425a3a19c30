"""Run a worker: deliver pushes until it is stopped."""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.checks import CRITICAL, run_checks
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import router

from live_push.engines.run import sweep
from live_push.engines.worker import THREADS, WorkerLoop
from live_push.models import Delivery
from live_push.outbox.serializer_check import SERIALIZER_SETTING


class Command(BaseCommand):
    help = (
        "Deliver pushes to the clients' endpoints. You may start any number of workers, on any number of machines. "
        "SIGTERM and Ctrl-C stop a worker cleanly: it finishes the requests under way and gives the other deliveries "
        "back. With --once it delivers what is due now and ends, for cron."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--threads", type=int, default=THREADS, help="Number of requests at the same time (default: %(default)s)."
        )
        parser.add_argument("--once", action="store_true", help="Deliver what is due now, then end.")

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Like Django's, but an error of the payload serializer is only printed: stored pushes are sent without it."""
        try:
            super().check(*args, **kwargs)
        except SystemCheckError:
            findings = run_checks(databases=kwargs.get("databases"))
            errors = [finding for finding in findings if finding.is_serious() and not finding.is_silenced()]
            if any(error.obj != SERIALIZER_SETTING for error in errors):
                raise
            super().check(*args, **{**kwargs, "fail_level": CRITICAL})

    def handle(self, *, threads: int, once: bool, verbosity: int, **options: Any) -> None:
        if threads < 1:
            raise CommandError(f"--threads is {threads}; a worker needs at least 1.", returncode=2)
        using = router.db_for_write(Delivery)
        if once:
            attempts = sweep(using, engine="once", threads=threads)
            if verbosity:
                self.stdout.write(f"{attempts} attempt{'' if attempts == 1 else 's'} made; nothing more is due.")
            return
        loop = WorkerLoop(using=using, threads=threads)

        def stop(signum: int, frame: Any) -> None:
            # A second signal ends the process at once. Other workers take over when the leases have expired.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
            signal.signal(signal.SIGINT, lambda *_: os._exit(1))
            # Not in this thread: it may hold the lock of the event that stop() sets.
            threading.Thread(target=loop.stop, name="live_push-stop").start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if verbosity:
            self.stdout.write(f"Worker {loop.name} delivers with {threads} threads. Stop it with Ctrl-C.")
        loop.run()
        if verbosity:
            self.stdout.write("Stopped. No request is under way; other deliveries were given back.")
