"""``python -m tests.chaos``: the long run, on the database that ``DATABASE_URL`` names."""

from __future__ import annotations

import argparse
import os
import sys

import django
from django.test.runner import DiscoverRunner

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")


def main() -> int:
    """Run once and print the figures; 1 where the promise was not kept."""
    from . import standstill
    from .run import Plan, report, run

    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--profiles", type=int, default=300)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--engine",
        choices=["worker", "celery"],
        action="append",
        help="Default: worker. Given twice, engines are switched in the middle of the run.",
    )
    parser.add_argument("--broker", default="redis://127.0.0.1:6379/5", help="For Celery (default: %(default)s).")
    parser.add_argument("--disturb", default="", help="A command run three times, such as a restart of the database.")
    parser.add_argument("--fast", action="store_true", help="Send with the transport of the extra 'fast'.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--pause-database",
        action="store_const",
        const="pause-database",
        dest="mode",
        help="Trials of another kind: hold the database's answer to the start of attempts (PostgreSQL, MariaDB).",
    )
    mode.add_argument(
        "--stop-workers",
        action="store_const",
        const="stop-workers",
        dest="mode",
        help="Trials of another kind: stop a worker in the middle of its TLS handshakes.",
    )
    parser.add_argument("--trials", type=int, default=1, help="How many trials of the other kinds (default: 1).")
    options = parser.parse_args()
    engines = tuple(options.engine or ["worker"])
    plan = Plan(
        updates=options.updates,
        profiles=options.profiles,
        kills=options.kills,
        workers=options.workers,
        writers=options.writers,
        seed=options.seed,
        engines=engines,
        broker=options.broker if "celery" in engines else "",
        disturb=options.disturb,
        transport="fast.FastTransport" if options.fast else Plan.transport,
    )
    runner = DiscoverRunner(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        if options.mode:
            transport = f"live_push.delivery.{plan.transport}"
            trials = standstill.run(options.mode, transport, trials=options.trials, seed=options.seed)
            standstill.report(options.mode, transport, trials)
            return 0 if all(trial.is_kept for trial in trials) else 1
        figures = run(plan)
    finally:
        runner.teardown_databases(databases)
    report(figures)
    return 0 if figures.is_kept else 1


if __name__ == "__main__":
    django.setup()
    sys.exit(main())
