"""The verbs that change a delivery's state: the page that explains them shows them all, and nothing else writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import live_push
from live_push.models import Delivery, DeliveryStatus
from live_push.outbox.transitions import NEW, STATE_COLUMNS, TRANSITIONS, Transition

HOUSE = Path(live_push.__file__).parent
PAGE = (HOUSE.parent / "docs" / "lifecycle.md").read_text()
OTHERS = [
    path for path in sorted(HOUSE.rglob("*.py")) if path.name != "transitions.py" and "migrations" not in path.parts
]


def test_the_diagram_shows_every_transition_and_no_other() -> None:
    arrows = re.findall(r"^ +(\S+) --> (\S+): (\w+)$", PAGE, flags=re.MULTILINE)
    assert {Transition(source.replace("[*]", NEW), target, verb) for source, target, verb in arrows} == TRANSITIONS


def test_the_table_of_verbs_agrees_with_the_diagram() -> None:
    table = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", PAGE, flags=re.MULTILINE)
    rows = {
        Transition(NEW if source == "-" else source, source if target == "the same" else target, verb)
        for verb, sources, targets in table
        for source in sources.strip().split(", ")
        for target in targets.strip().split(", ")
    }
    assert rows == TRANSITIONS


def test_every_state_has_a_row() -> None:
    section = PAGE.partition("## States")[2].partition("## Verbs")[0]
    rows = re.findall(r"^\| (\w+) \|", section, flags=re.MULTILINE)
    assert rows == ["State", *DeliveryStatus.values]


def test_the_state_columns_are_columns() -> None:
    assert {field.name for field in Delivery._meta.concrete_fields} >= STATE_COLUMNS


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_only_the_transitions_write_the_state_of_a_delivery(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = {keyword.arg for keyword in node.keywords}
        # "priority" and "reason" also stand in calls that write nothing.
        written = names & (STATE_COLUMNS - {"priority", "reason"}) if node.func.attr in {"update", "create"} else set()
        assert not written, f"{path.name} writes {written} in line {node.lineno}; only outbox/transitions.py may."
