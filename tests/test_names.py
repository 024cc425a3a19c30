"""A name stands for one thing: public names at the top of modules are not used twice for different things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import live_push

HOUSE = Path(live_push.__file__).parent

ALLOWED = {
    # Django, Celery and logging look for these names, or every module has its own.
    "Command",
    "logger",
    # The same thing for each engine: how many threads, for how long, and the tasks that hosts schedule.
    "RUN_SECONDS",
    "THREADS",
    "look",
    "sweep",
    "tiers",
    # The same verb at two levels: what callers ask for, and the change of state that it comes down to.
    "cancel",
    "claim",
    "erase",
    "give_back",
    "record",
    "start",
    # The same verb for hosts and inside: api.redeliver() calls outbox.reopen.redeliver().
    "redeliver",
    # The same question to two pure rules about an endpoint's health.
    "after_failure",
    "after_success",
    # The rule, and the figure that follows it.
    "undelivered_since",
    # Both transports list the names of their library that they need.
    "missing_seams",
    # Type variables.
    "M",
    "T",
}


def _public_names(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def test_no_public_name_stands_for_two_things() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(HOUSE.rglob("*.py")):
        if "migrations" not in path.parts:
            for name in _public_names(path):
                modules[name].append(str(path.relative_to(HOUSE)))
    assert {name: paths for name, paths in modules.items() if len(paths) > 1 and name not in ALLOWED} == {}
