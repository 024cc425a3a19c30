"""The delivery list before a long log: every way to narrow it goes by an index, and nothing counts or reads it all."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client, RequestFactory

from live_push.admin.deliveries import filters
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHour, Push, UserProfile
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, statements

from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS, PUSHES, ENDPOINTS = 200, 2_500, 4
TABLE = "live_push_delivery"
EVENTS = {"succeeded": "", "failed": "too_large", "pending": "timeout", "cancelled": ""}
ANSWERS = {"succeeded": 200, "failed": 413, "pending": None, "cancelled": None}


@pytest.fixture
def log() -> Push:
    """10,000 deliveries, most of them succeeded, as in a log that is kept; statistics are fresh. Returns one push."""
    members = UserProfileFactory.create_batch(3, third_party_id=None)
    UserProfile._base_manager.bulk_create(UserProfile(user_name=f"m{number}") for number in range(MEMBERS))
    member_ids = list(UserProfile._base_manager.order_by("pk").values_list("pk", flat=True))
    UserProfile._base_manager.filter(pk=members[0].pk).update(third_party_id="T-7", email_address="ada@example.com")
    endpoints = ClientEndpointFactory.create_batch(ENDPOINTS)
    Push.objects.bulk_create(
        Push(
            profile_id=member_ids[number % len(member_ids)],
            sequence=number + 1,
            trigger="tier" if number % 500 == 1 else "updated",
            created_at=START + timedelta(minutes=number),
        )
        for number in range(PUSHES)
    )
    pushes = list(Push.objects.order_by("pk"))
    Delivery.objects.bulk_create(
        _delivery(push, number, endpoint) for number, push in enumerate(pushes) for endpoint in endpoints
    )
    EndpointHour.objects.create(endpoint=endpoints[0], hour=START, error_code="too_large", within_ms=10, attempts=1)
    EndpointHour.objects.create(endpoint=endpoints[0], hour=START, error_code="id_conflict", within_ms=10, attempts=1)
    accepted = Delivery.objects.filter(endpoint=endpoints[0], status="succeeded").earliest("pk")
    Attempt.objects.create(
        delivery=accepted, number=1, trigger="push", started_at=START, error_code="id_conflict", capture_conflict=True
    )
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {TABLE}" if connection.vendor == "mysql" else "ANALYZE")
    return pushes[7]


def _delivery(push: Push, number: int, endpoint: ClientEndpoint) -> Delivery:
    # One in a hundred did not succeed.
    status = list(EVENTS)[number // 100 % 3 + 1] if number % 100 == 0 else "succeeded"
    return Delivery(
        push=push,
        endpoint=endpoint,
        profile_id=push.profile_id,
        position=push.sequence,
        status=status,
        last_error_code=EVENTS[status],
        last_status_code=ANSWERS[status],
        attempts_made=1,
        created_at=push.created_at,
        next_attempt_at=push.created_at if status == "pending" else None,
        ended_at=None if status == "pending" else push.created_at,
    )


WAYS: dict[str, dict[str, str]] = {
    "all": {},
    "a later page": {"p": "3"},
    "by status": {"status__exact": "failed"},
    "what waits": {"status__exact": "pending"},
    "by endpoint": {"endpoint": "ENDPOINT"},
    "by endpoint and status": {"endpoint__id__exact": "ENDPOINT", "status__exact": "failed"},
    "by cause": {"cause": "too_large"},
    "by cause and endpoint": {"cause": "too_large", "endpoint": "ENDPOINT"},
    "by an id of another member": {"cause": "id_conflict"},
    "by the last answer": {"answer": "4"},
    "by no answer": {"answer": "none"},
    "by any answer that accepts": {"answer": "2"},
    "by an answer that accepts, of one endpoint": {"answer": "2", "endpoint": "ENDPOINT"},
    "by a trigger that most have": {"trigger": "updated"},
    "by a trigger that few have": {"trigger": "tier"},
    "by a trigger and endpoint": {"trigger": "updated", "endpoint": "ENDPOINT"},
    "by a trigger and status": {"trigger": "updated", "status__exact": "failed"},
    "by a trigger and time": {"trigger": "updated", "recorded": "day"},
    "by time": {"recorded": "hour"},
    "by time and status": {"recorded": "day", "status__exact": "failed"},
    "an event id": {"q": "EVENT"},
    "a member's id": {"q": "MEMBER"},
    "a third-party id": {"q": "T-7"},
    "an address": {"q": "ada@example.com"},
}


def test_every_way_to_narrow_the_list_goes_by_an_index(
    boss: Client, log: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer than most pushes have one cause, as in a log of millions.
    monkeypatch.setattr(filters, "ROWS_LISTED", 1000)
    told = {"ENDPOINT": ClientEndpoint.objects.latest("pk").pk, "EVENT": log.event_id, "MEMBER": log.profile_id}
    with stopped(START + timedelta(minutes=PUSHES)):
        for name, way in WAYS.items():
            query = {key: told.get(value, value) for key, value in way.items()}
            seen: list[Any] = []
            run = statements(lambda query=query, seen=seen: seen.append(boss.get(url("delivery_changelist"), query)))
            for sql in run:
                if f"FROM {connection.ops.quote_name(TABLE)}" in sql:
                    assert "DISTINCT" not in sql, name
                    assert "COUNT" not in sql or "LIMIT 10001" in sql, (name, sql)
                    assert not read_whole(sql), (name, sql, read_whole(sql))
            assert len(seen[0].context["cl"].result_list) > 0, name


def test_the_pushes_of_one_cause_are_found_by_their_index(log: Push) -> None:
    for trigger in ("tier", "updated"):
        found = statements(lambda trigger=trigger: filters.caused_by(Delivery.objects.all(), trigger))  # type: ignore[misc]
        assert len(found) <= 2
        assert not read_whole(found[0], "live_push_push"), trigger


def test_deliveries_of_one_cause_are_found_by_their_index(log: Push) -> None:
    request = RequestFactory().get("/", {"cause": "too_large"})
    narrowing = filters.ErrorCodeFilter(request, {"cause": ["too_large"]}, Delivery, site._registry[Delivery])
    found = narrowing.queryset(request, Delivery.objects.order_by("-pk"))[:100]
    assert "live_push_cause" in found.explain()


def read_whole(sql: str, table: str = TABLE) -> list[str]:
    """The steps of the plan that read the whole log.

    Not among them: to follow the primary key until the page is full, which is how all are listed. SQLite does
    so for one endpoint or one cause as well, because it knows of each index but the average.
    """
    with connection.cursor() as cursor:
        # The statement comes with its values, so a % in it is one.
        cursor.execute({"sqlite": "EXPLAIN QUERY PLAN "}.get(connection.vendor, "EXPLAIN ") + sql)
        columns = [column[0].lower() for column in cursor.description]
        plan = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    if connection.vendor == "sqlite":
        steps = [step["detail"] for step in plan]
        by_key = re.search('ORDER BY (1|"live_push_delivery"."id") ', sql) and not any("B-TREE" in one for one in steps)
        return [step for step in steps if re.match(rf"SCAN {table}\b", step) and not by_key]
    if connection.vendor == "postgresql":
        steps = [step["query plan"] for step in plan]
        # Without a condition a count may begin anywhere, and ends where it was told to.
        return [step for step in steps if f"Seq Scan on {table}" in step and (" WHERE " in sql or "ORDER BY" in sql)]
    sorted_whole = [str(step) for step in plan if "Using temporary" in (step["extra"] or "")]
    whole = [str(step) for step in plan if step["table"] == table and step["type"] == "ALL" and " WHERE " in sql]
    return whole + sorted_whole
