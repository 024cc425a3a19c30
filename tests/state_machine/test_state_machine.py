"""The state machine, run by Hypothesis.

``LIVE_PUSH_EXAMPLES=1000`` plays longer, ``LIVE_PUSH_SHRINK=1`` looks for the shortest story of what it finds.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Outbox

EXAMPLES = int(os.environ.get("LIVE_PUSH_EXAMPLES", "25"))
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
            database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_nothing_is_lost_doubled_or_out_of_order() -> None:
    play(EXAMPLES)
