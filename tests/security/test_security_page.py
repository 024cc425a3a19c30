"""The page on security claims nothing that no test proves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.delivery.oracles import ORACLES
from tests.delivery.test_mutants import REGISTER

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
CONTROLS = re.findall(r"^\| ([A-Z]\d+) \|.* \| (.+) \|$", PAGE, re.MULTILINE)
PROOF = re.compile(r"\[(\w+)\]\((tests/[\w/]+\.py)\): ((?:`test_\w+(?:\[\w+\])?`(?:, )?)+)")
# The one threat that nothing stands against; a section of the page says so.
LEFT_OUT = ("A10", "left out on purpose")


@pytest.mark.parametrize("letter", "ABCDEFGH")
def test_controls_count_from_one_without_a_gap(letter: str) -> None:
    numbers = [int(name[1:]) for name, _ in CONTROLS if name[0] == letter]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize("control", CONTROLS, ids=[name for name, _ in CONTROLS])
def test_a_control_is_proved_by_tests_that_exist(control: tuple[str, str]) -> None:
    if control == LEFT_OUT:
        return
    proofs = [match.groups() for match in PROOF.finditer(control[1])]
    # Nothing in the cell but proofs.
    assert " · ".join(f"[{name}]({path}): {tests}" for name, path, tests in proofs) == control[1]
    for name, path, tests in proofs:
        assert Path(path).stem == name
        code = (ROOT / path).read_text()
        for test, promise in re.findall(r"`(test_\w+)(?:\[(\w+)\])?`", tests):
            assert re.search(rf"def {test}\b", code), f"{path} has no {test}."
            assert not promise or promise in {oracle.__name__ for oracle in ORACLES}, f"There is no oracle {promise}."


def test_the_mutants_it_names_are_found_by_whom_it_says() -> None:
    named = re.findall(r"^\| [^|]+ \| `(\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert len(named) > 10
    assert set(named) <= {(mutant.__name__, promise.__name__) for mutant, promise in REGISTER}
