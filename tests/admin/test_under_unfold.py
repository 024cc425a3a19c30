"""The admin under another theme's base class, which is chosen when the process starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from tests.conftest import need

ROOT = Path(__file__).parents[2]
STORIES = "(test_every_page_opens or TestList or TestPauseAndResume or TestActions or capped or themed) and not unfold"


@pytest.mark.slow
def test_every_page_works_and_is_styled_under_unfold() -> None:
    need(util.find_spec("unfold"), "No other theme here. Get one: pip install 'live-push[browser]'.")
    # What the theme itself does that Django will drop one day is no finding of ours.
    silent = [f"-Wignore::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning")]
    environment = {**os.environ, "TEST_DB_SUFFIX": os.environ.get("TEST_DB_SUFFIX", "") + "_unfold"}
    run = subprocess.run(  # noqa: S603  (our own command)
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-n0",
                "-o",
                "python_files=test_*.py themed.py",
            ),
            *silent,
            *("-v", "--ds=tests.unfold_settings", "tests/admin", "-k", STORIES),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    for file in ("test_all_pages", "test_capped_lists", "test_deliveries", "test_endpoints", "test_profiles", "themed"):
        assert re.search(rf"/{file}\.py::.* PASSED", run.stdout), file
