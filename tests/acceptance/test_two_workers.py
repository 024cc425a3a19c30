"""Fairness, cap and rate limit hold over all workers: two processes, three clients, and the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest

from live_push.models import Attempt, ClientEndpoint, Delivery, UserProfile, WorkerHeartbeat
from live_push.testing.https_server import EndpointServer, Exchange
from tests.engines.processes import eventually, running
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = 60
TOTAL_SECONDS = 2
CAP = 4
RATE = 10


@pytest.fixture
def clients() -> Iterator[EndpointServer]:
    """One server for three clients; the sick one accepts connections and never answers."""

    def behave(exchange: Exchange) -> None:
        if exchange.received.path == "/sick":
            exchange.wait(seconds=TOTAL_SECONDS * 2)
        else:
            exchange.respond(200)

    with EndpointServer() as server:
        server.behave(behave)
        yield server


def test_two_workers_keep_to_the_cap_and_the_rate_and_let_nobody_wait(clients: EndpointServer) -> None:
    sick, well, limited = (
        ClientEndpointFactory(url=f"{clients.url}{name}", name=name, **options)
        for name, options in {
            "sick": {"max_in_flight": CAP},
            "well": {"max_in_flight": 8},
            "limited": {"rate_limit_per_second": RATE},
        }.items()
    )
    settings = {**clients.settings, "TOTAL_TIMEOUT_SECONDS": TOTAL_SECONDS}
    with ExitStack() as workers:
        for _ in range(2):
            workers.enter_context(
                running("django", "live_push_worker", "--threads", "8", "-v", "0", live_push=settings)
            )
        eventually(lambda: WorkerHeartbeat.objects.count() == 2)
        UserProfile.objects.bulk_create(UserProfileFactory.build_batch(MEMBERS))
        eventually(lambda: accepted(well) == MEMBERS)
        sick_answers = accepted(sick)
        eventually(lambda: accepted(limited) == MEMBERS)
        # The sick one's cap is in use: it did not merely get nothing.
        eventually(lambda: Attempt.objects.filter(delivery__endpoint=sick).count() > CAP)
    log = {endpoint.pk: spans(endpoint) for endpoint in (sick, well, limited)}
    figures = {
        "the sick client's answers": sick_answers,
        "its requests at once": most_at_once(log[sick.pk]),
        "the well client's last push after its first, s": round(
            (log[well.pk][-1][0] - log[well.pk][0][0]).total_seconds(), 2
        ),
        "the limited client's pushes in its busiest second": most_a_second(log[limited.pk]),
    }
    print(figures)  # noqa: T201
    assert sick_answers == 0
    assert 1 < most_at_once(log[sick.pk]) <= CAP
    # A second's worth at once, then as many as the limit says; what was counted leaves a little later.
    took = log[limited.pk][-1][0] - log[limited.pk][0][0]
    assert took.total_seconds() >= MEMBERS / RATE - 2
    assert len({received.headers["webhook-id"] for received in clients.received if received.path == "/well"}) == MEMBERS


Span = tuple[datetime, datetime]


def accepted(endpoint: ClientEndpoint) -> int:
    return Delivery.objects.filter(endpoint=endpoint, status="succeeded").count()


def spans(endpoint: ClientEndpoint) -> list[Span]:
    """When each attempt began and ended, by the database's clock."""
    rows = Attempt.objects.filter(delivery__endpoint=endpoint).order_by("started_at")
    return [(row.started_at, row.started_at + timedelta(milliseconds=row.duration_ms or 0)) for row in rows]


def most_at_once(spans: Sequence[Span]) -> int:
    return max(sum(begin <= start < end for begin, end in spans) for start, _ in spans)


def most_a_second(spans: Sequence[Span]) -> int:
    second = timedelta(seconds=1)
    return max(sum(start <= other < start + second for other, _ in spans) for start, _ in spans)
