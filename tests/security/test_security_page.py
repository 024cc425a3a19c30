"""The page on security claims nothing that no test proves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
CONTROLS = re.findall(r"^\| ([A-F]\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
PROOF = re.compile(r"\[(\w+)\]\((tests/[\w/]+\.py)\): ((?:`test_\w+`(?:, )?)+)")


@pytest.mark.parametrize("letter", "ABCDEF")
def test_controls_count_from_one_without_a_gap(letter: str) -> None:
    numbers = [int(name[1:]) for name, *_ in CONTROLS if name[0] == letter]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize("control", CONTROLS, ids=[name for name, *_ in CONTROLS])
def test_a_control_is_proved_by_tests_that_exist(control: tuple[str, str, str, str]) -> None:
    proofs = [match.groups() for match in PROOF.finditer(control[3])]
    # Nothing in the cell but proofs.
    assert " · ".join(f"[{name}]({path}): {tests}" for name, path, tests in proofs) == control[3]
    for name, path, tests in proofs:
        assert Path(path).stem == name
        code = (ROOT / path).read_text()
        for test in re.findall(r"`(test_\w+)`", tests):
            assert re.search(rf"def {test}\b", code), f"{path} has no {test}."
