"""``python -m tests.benchmarks [NAME…]``: what live_push costs and carries, in ratios measured side by side."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from .harness import Row
from .plot import draw
from .table import table

ALL = ("sqlite", "postgresql", "mariadb")
MEASUREMENTS = {
    "saves": ALL,
    "drain": ALL,
    "scaling": ("postgresql", "mariadb"),
    "hot_path": ALL,
    "payload": ("sqlite",),
    "claims": ALL,
    "latency": ALL,
    "sick": ALL,
    "locked": ("postgresql", "mariadb"),
    "slow": ALL,
    "resend": ("sqlite", "postgresql"),
    "status": ("postgresql",),
    "quiet": ALL,
    "logins": ALL,
}
"""On which databases each is measured; a module's name below this package."""

ONLY_BY_NAME = {"memory": ("sqlite", "postgresql"), "growth": ("postgresql",), "tiers": ALL, "killed": ALL}
"""Those that take too long to be run with the others."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = f"Of {', '.join(MEASUREMENTS)}; default: all. And {', '.join(ONLY_BY_NAME)}."
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--database", action="append", choices=("sqlite", "postgresql", "mariadb"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="Tiny numbers: shows that it works, measures nothing.")
    parser.add_argument("--minutes", type=float, default=60, help="How long memory is watched.")
    parser.add_argument("--rows", type=int, help="For resend and tiers (default: 100,000) and growth (10,000,000).")
    parser.add_argument("--keep", action="store_true", help="Leave growth's long log for the next run.")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="Where the figures are kept.")
    parser.add_argument("--svg", type=Path, default=Path("benchmarks.svg"), help="Where the plot goes.")
    parser.add_argument("--table", type=Path, default=Path("benchmarks.md"), help="Where the table of all goes.")
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json.exists() else {"rows": []}
    for name in options.names or list(MEASUREMENTS):
        for database in {**MEASUREMENTS, **ONLY_BY_NAME}[name]:
            if not options.database or database in options.database:
                new = in_a_process_of_its_own(name, database, options)
                seen = {(row["what"], row["database"]) for row in new}
                kept["rows"] = [row for row in kept["rows"] if (row["what"], row["database"]) not in seen] + new
                kept["machine"] = machine()
                options.json.write_text(json.dumps(kept, indent=1) + "\n")
                print(table([Row(**row) for row in new]), flush=True)  # noqa: T201
    rows = [Row(**row) for row in kept["rows"]]
    options.svg.write_text(draw(rows, kept["machine"]))
    options.table.write_text(f"{table(rows)}\n\n{kept['machine']}\n")


def in_a_process_of_its_own(name: str, database: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """The rows of one measurement; each has its own Django and its own database."""
    with tempfile.NamedTemporaryFile() as result:
        arguments = [name, database, str(options.rounds), str(int(options.quick)), result.name, str(options.minutes)]
        arguments += [str(options.rows or ""), str(int(options.keep))]
        subprocess.run([sys.executable, "-m", "tests.benchmarks.one", *arguments], check=True)  # noqa: S603
        rows: list[dict[str, object]] = json.loads(Path(result.name).read_text())
    return rows


def machine() -> str:
    """What it ran on, with the versions that matter."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    parts = [
        f"{os.cpu_count()} cores{model.replace('model name', '').replace(chr(9), '')}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("Django", "requests", "urllib3")),
    ]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
