"""Hourly statistics: what is counted, when, and what is read from it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from live_push.models import EndpointHour
from live_push.models.clock import stopped
from live_push.outbox import hours
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, statements, status


def counted() -> list[tuple[str, int, int]]:
    rows = EndpointHour.objects.order_by("hour", "error_code", "within_ms")
    return [(row.error_code, row.within_ms, row.attempts) for row in rows]


@pytest.mark.django_db(transaction=True)
class TestCounting:
    def test_attempts_that_end_alike_in_one_hour_share_a_row(self) -> None:
        ClientEndpointFactory()
        with stopped(START + timedelta(minutes=59)):
            UserProfileFactory.create_batch(3)
            deliver(status(200, duration_ms=11), status(200, duration_ms=20), status(500, duration_ms=700))
        assert counted() == [("", 20, 2), ("server_error", 1000, 1)]
        assert set(EndpointHour.objects.values_list("hour", flat=True)) == {START}

    def test_a_later_settlement_adds_to_the_hour(self) -> None:
        ClientEndpointFactory()
        for minute in (1, 2):
            with stopped(START + timedelta(minutes=minute)):
                UserProfileFactory()
                deliver(OK)
        assert counted() == [("", 10, 2)]

    def test_the_next_hour_is_another_row(self) -> None:
        ClientEndpointFactory()
        for hour in (0, 1):
            with stopped(START + timedelta(hours=hour)):
                UserProfileFactory()
                deliver(OK)
        assert list(EndpointHour.objects.order_by("hour").values_list("hour", "attempts")) == [
            (START, 1),
            (START + timedelta(hours=1), 1),
        ]

    def test_an_id_that_is_another_members_is_no_failed_attempt(self) -> None:
        ClientEndpointFactory(capturing=True)
        UserProfileFactory.create_batch(2)
        deliver(status(200, b'{"third_party_id": "T-1"}'))
        assert counted() == [("", 10, 1), ("id_conflict", 10, 1)]
        assert sum(EndpointHour.objects.accepted().values_list("attempts", flat=True)) == 2
        assert not EndpointHour.objects.failed().exists()

    def test_what_takes_longer_than_all_bounds_is_counted_with_the_last(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(200, duration_ms=10**9))
        assert counted() == [("", hours.WITHIN_MS[-1], 1)]

    def test_a_settlement_counts_in_one_statement(self) -> None:
        ClientEndpointFactory.create_batch(2)
        UserProfileFactory.create_batch(2)
        sql = [statement for statement in statements(lambda: deliver(OK)) if "endpointhour" in statement]
        assert 1 <= len(sql) <= 4
        # PostgreSQL inserts the attempts with the same statement.
        assert all(statement.startswith(("INSERT", "WITH")) for statement in sql)

    def test_old_hours_are_forgotten_on_request(self) -> None:
        ClientEndpointFactory()
        for hour in (0, 1):
            with stopped(START + timedelta(hours=hour)):
                UserProfileFactory()
                deliver(Result(error_code="timeout"))
        assert hours.forget(START + timedelta(hours=1), using="default") == 1
        assert EndpointHour.objects.get().hour == START + timedelta(hours=1)


@pytest.mark.parametrize(
    ("counts", "share", "milliseconds"),
    [
        pytest.param({}, 0.5, None, id="nothing was counted"),
        pytest.param({50: 1}, 0.5, 50, id="one attempt is every percentile"),
        pytest.param({50: 1}, 0.99, 50, id="also the highest"),
        pytest.param({10: 50, 1000: 50}, 0.5, 10, id="exactly half ended by then"),
        pytest.param({10: 49, 1000: 51}, 0.5, 1000, id="less than half ended by then"),
        pytest.param({10: 99, 5000: 1}, 0.99, 10, id="one in a hundred may be slower"),
        pytest.param({10: 98, 5000: 2}, 0.99, 5000, id="two in a hundred may not"),
    ],
)
def test_a_percentile_is_an_upper_bound(counts: dict[int, int], share: float, milliseconds: int | None) -> None:
    assert hours.percentile(counts, share) == milliseconds
