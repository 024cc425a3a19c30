"""A plain ``pytest`` takes minutes: it uses all cores and leaves out the slow tests, which ``.ci/run`` runs."""

from __future__ import annotations

from configparser import ConfigParser
from itertools import pairwise

import pytest

from tests.readme import ROOT


def test_a_plain_run_uses_all_cores_and_leaves_out_the_slow_tests(pytestconfig: pytest.Config) -> None:
    options = pytestconfig.getini("addopts")
    given = dict(pairwise(options))
    assert given["--numprocesses"] == "auto"
    assert given["-m"] == "not slow"


def test_what_a_plain_run_needs_comes_with_its_extra() -> None:
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    assert "pytest-xdist" in setup["options.extras_require"]["test"]


def test_the_slow_tests_run_in_a_lane_of_their_own() -> None:
    lanes = (ROOT / ".ci" / "run").read_text()
    assert 'suite oldest "$sqlite" -m slow\n' in lanes
