"""What a delivery costs in statements, if the outbox is full: batches share them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from live_push.delivery.request import Request
from live_push.engines.pipeline import Pipeline
from live_push.models import Attempt, Delivery, UserProfile
from live_push.outbox import record
from live_push.rules import local_clock
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport, multiply_profiles, statements

pytestmark = pytest.mark.django_db(transaction=True)

DELIVERIES = 512


class AnsweringAtOnce(ScriptedTransport):
    """A client that has answered before the worker looks again, so that each batch is as large as it can be."""

    def begin(self, request: Request, done: Callable[[Result], None]) -> None:
        done(self.send(request))


@pytest.mark.parametrize(
    ("in_flight", "on_postgresql", "elsewhere"),
    [
        # One start for eight deliveries is an eighth of a statement for each, and no start can take more than are free.
        pytest.param(8, 0.22, 0.40, id="8 in flight"),
        pytest.param(64, 0.10, 0.17, id="64 in flight"),
    ],
)
def test_a_delivery_out_of_a_full_outbox_costs_a_part_of_a_statement(
    in_flight: int, on_postgresql: float, elsewhere: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time stands still: only a full batch is settled, and no lease of slots is renewed.
    monkeypatch.setattr(local_clock, "local_now", lambda: 1000.0)
    UserProfileFactory()
    ClientEndpointFactory(max_in_flight=in_flight)
    multiply_profiles(DELIVERIES)
    with transaction.atomic():
        record.record(list(UserProfile.objects.values_list("pk", flat=True)), "updated", using="default")
    pipeline = Pipeline(
        using="default",
        name="w",
        # A quarter of the threads is kept for other endpoints.
        threads=2 * in_flight,
        transport=AnsweringAtOnce(OK),
        random=lambda: 0.0,
        monotonic=lambda: 0.0,
    )
    made = statements(pipeline.run_until_idle)
    pipeline.close()
    assert set(Delivery.objects.values_list("status")) == {("succeeded",)}
    assert Attempt.objects.count() == DELIVERIES
    assert len(made) / DELIVERIES <= (on_postgresql if connection.vendor == "postgresql" else elsewhere)
