"""The admin under another theme's base class, which is chosen when the process starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_page_opens_and_the_lists_read_the_same_under_unfold() -> None:
    pytest.importorskip("unfold")
    # What the theme itself does that Django will drop one day is no finding of ours.
    silent = [f"-Wignore::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning")]
    environment = {**os.environ, "TEST_DB_SUFFIX": os.environ.get("TEST_DB_SUFFIX", "") + "_unfold"}
    run = subprocess.run(  # noqa: S603  (our own command)
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"),
            *silent,
            *("--ds=tests.unfold_settings", "tests/admin", "-k", "(test_every_page_opens or TestList) and not unfold"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
