"""One measurement: ``python -m tests.benchmarks.one NAME DATABASE ROUNDS QUICK RESULT [MINUTES [ROWS [KEEP]]]``."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from .harness import Bench
from .place import place


def main(
    name: str, database: str, rounds: str, quick: str, result: str, minutes: str = "60", rows: str = "", keep: str = "0"
) -> None:
    chosen = int(rows) if rows else None
    bench = Bench(database, int(rounds), bool(int(quick)), float(minutes), chosen, bool(int(keep)))
    with place(database):
        # Only now, because models can't be imported before.
        measure = importlib.import_module(f"tests.benchmarks.{name}").measure
        rows = [replace(row, database=database).as_dict() for row in measure(bench)]
    Path(result).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
