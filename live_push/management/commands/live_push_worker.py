"""Deliver pushes, until told to stop."""

from __future__ import annotations

import os
import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from live_push.engines.base import sweep
from live_push.engines.worker import THREADS, WorkerLoop
from live_push.models import Delivery


class Command(BaseCommand):
    help = (
        "Deliver pushes to the clients' endpoints. Start it as often as you like, on as many machines as you like. "
        "SIGTERM and Ctrl-C stop it cleanly: what is under way is finished, the rest is given back. "
        "With --once it delivers what is due now and ends, for cron."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--threads", type=int, default=THREADS, help="Requests under way at once (default: %(default)s)."
        )
        parser.add_argument("--once", action="store_true", help="Deliver what is due now, then end.")

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
            # A second signal leaves at once: the leases say what was under way.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
            signal.signal(signal.SIGINT, lambda *_: os._exit(1))
            loop.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if verbosity:
            self.stdout.write(f"Worker {loop.name} delivers with {threads} threads. Stop it with Ctrl-C.")
        loop.run()
        if verbosity:
            self.stdout.write("Stopped: nothing is under way, the rest was given back.")
