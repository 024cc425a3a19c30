"""A short chaos run: nothing is lost and nothing comes out of order while workers are killed."""

from __future__ import annotations

import pytest

from .run import Plan, report, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("transport", ["transport.RequestsTransport", "aiohttp_transport.AiohttpTransport"])
def test_killed_workers_and_a_moody_client_lose_nothing(transport: str) -> None:
    figures = run(Plan(transport=transport))
    report(figures)
    assert figures.is_kept
    assert figures.kills == figures.plan.kills
    assert figures.verdict.accepted >= figures.plan.profiles * 3
