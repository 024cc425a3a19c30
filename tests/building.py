"""Builds the package as it is published: from a copy, so that the tree stays as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .conftest import need
from .readme import ROOT


@dataclass(frozen=True)
class Built:
    """The two files that are published."""

    sdist: Path
    wheel: Path


@cache
def build() -> Built:
    """Build both, the wheel from the sdist; skips the test where the index can't be reached."""
    folder = Path(tempfile.mkdtemp(prefix="live_push_build_"))
    shutil.copytree(ROOT / "live_push", folder / "source" / "live_push", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder / "source")
    done = run_pip([sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder / "source")])
    assert done.returncode == 0, done.stdout
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return Built(sdist, wheel)


def run_pip(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run what installs packages; skips the test where the index can't be reached."""
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
        command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    unreachable = done.returncode != 0 and (
        "No matching distribution found" in done.stdout or "Failed to establish a new connection" in done.stdout
    )
    need(not unreachable, "This test installs packages: give pip an index that it can reach.")
    return done
