"""The state machine, run by Hypothesis: the same stories each time, so that a change is judged and not the luck.

``LIVE_PUSH_EXAMPLES=1000`` plays that many new ones, ``LIVE_PUSH_SHRINK=1`` looks for the shortest of those that break
a promise.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Outbox

NEW_EXAMPLES = int(os.environ.get("LIVE_PUSH_EXAMPLES", "0"))
STEPS = int(os.environ.get("LIVE_PUSH_STEPS", "40"))
SHRINK = bool(os.environ.get("LIVE_PUSH_SHRINK"))


def play(examples: int) -> None:
    """Plays so many stories of random steps; raises where one of them breaks a promise."""
    run_state_machine_as_test(
        Outbox,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not NEW_EXAMPLES,
            database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("examples", [4, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.raced])])
def test_whatever_happens_nothing_is_lost_doubled_or_out_of_order(examples: int) -> None:
    play(NEW_EXAMPLES or examples)
