"""A short chaos run: nothing is lost and nothing comes out of order while workers are killed."""

from __future__ import annotations

import pytest

from .run import Plan, report, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(updates=100, profiles=20, kills=2), id="short"),
        pytest.param(Plan(), marks=[pytest.mark.slow, pytest.mark.raced], id="requests"),
        pytest.param(Plan(transport="fast.FastTransport"), marks=[pytest.mark.slow, pytest.mark.raced], id="libcurl"),
    ],
)
def test_killed_workers_and_a_moody_client_lose_nothing(plan: Plan) -> None:
    figures = run(plan)
    report(figures)
    assert figures.is_kept
    assert figures.kills == figures.plan.kills
    assert figures.verdict.accepted >= figures.plan.profiles * 3
