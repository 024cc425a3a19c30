"""The contract depends on nothing but its input."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from live_push import contract

MODULES = sorted(path.stem for path in Path(contract.__file__).parent.glob("*.py") if path.stem != "__init__")


def test_the_contract_works_without_django() -> None:
    imports = "; ".join(f"import live_push.contract.{name}" for name in MODULES)
    script = f"import sys; {imports}; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0  # noqa: S603


@pytest.mark.parametrize("name", MODULES)
def test_no_file_reaches_for_the_clock_randomness_or_the_network(name: str) -> None:
    tree = ast.parse((Path(contract.__file__).parent / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not imported & {"random", "secrets", "socket", "time", "urllib", "uuid"}
    assert not called & {"now", "today", "utcnow"}
