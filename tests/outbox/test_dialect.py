"""What differs between the databases: rows are inserted and updated by one text, with any number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from live_push.models import Attempt, Confirmation, Delivery, UserProfile
from live_push.models.clock import db_now
from live_push.outbox import dialect, sql
from live_push.outbox.dialect import Statement
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, statements

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = Statement("SELECT 1", {})


def execute(inserts: list[Statement]) -> None:
    dialect.execute_together([*inserts, NOTHING], using="default")


def confirmation(*rows: tuple[Any, ...]) -> list[Statement]:
    table = sql.tables("default")["confirmation"]
    newer = dialect.upsert(["endpoint_id", "profile_id"], {"sequence": "{new}"}, table=table, using="default")
    return dialect.inserts(table, sql.CONFIRMATIONS, rows, name="confirmation", using="default", conflict=newer)


def test_any_number_of_rows_is_inserted() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    delivery, now = Delivery.objects.get(), dialect.adapt_moment(db_now("default"), using="default")
    rows = [
        (delivery.pk, number, "push", now, None, 200, "", 'a "detail", {1}', b"\x00\xff", "", None, None, False)
        for number in range(1, 201)
    ]
    inserts = dialect.inserts(sql.tables("default")["attempt"], sql.ATTEMPTS, rows, name="attempt", using="default")
    made = statements(lambda: execute(inserts))
    assert len(made) == (1 if connection.vendor == "postgresql" else len(inserts) + 1)
    assert [attempt.number for attempt in Attempt.objects.order_by("number")] == [*range(1, 201)]
    first = Attempt.objects.get(number=1)
    assert (first.detail, first.answer, first.duration_ms) == ('a "detail", {1}', b"\x00\xff", None)


@pytest.mark.parametrize("text", ["\\", '\\"', '"', "{,}", "NULL", "a\nb", "ü %s %(name)s", " "])
def test_a_text_arrives_as_it_is(text: str) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    now = dialect.adapt_moment(db_now("default"), using="default")
    row = (Delivery.objects.get().pk, 1, "push", now, 1, 200, "", "", text.encode(), "", text, None, False)
    execute(dialect.inserts(sql.tables("default")["attempt"], sql.ATTEMPTS, [row], name="attempt", using="default"))
    attempt = Attempt.objects.get()
    assert (attempt.captured_id, attempt.replaced_id, attempt.answer) == (text, None, text.encode())


@pytest.mark.parametrize("microsecond", [0, 1, 333_333, 999_999])
def test_a_time_is_read_to_the_microsecond(microsecond: int) -> None:
    at = START.replace(year=2199, microsecond=microsecond)
    UserProfileFactory()
    UserProfile._base_manager.update(date_created=at)
    table = connection.ops.quote_name(UserProfile._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {dialect.select_moment('date_created', using='default')} FROM {table}")  # noqa: S608  (our own words)
        ((read,),) = cursor.fetchall()
    assert dialect.read_moment(read) == at


def test_a_row_that_exists_is_updated_instead() -> None:
    endpoint, profile = ClientEndpointFactory(), UserProfileFactory()
    now = dialect.adapt_moment(db_now("default"), using="default")
    for sequence in (1, 2):
        execute(confirmation((endpoint.pk, profile.pk, sequence, now, f"digest {sequence}")))
    # Only the named columns change.
    assert Confirmation.objects.values_list("sequence", "digest").get() == (2, "digest 1")


@pytest.mark.parametrize("ids", [[], [1], [1, 2**62]])
def test_a_condition_holds_any_number_of_ids(ids: list[int]) -> None:
    values: dict[str, Any] = {}
    condition = dialect.any_of(values, "id", ids, using="default")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {sql.tables('default')['push']} WHERE {condition}", values)  # noqa: S608  (our own words)
        assert cursor.fetchall() in ([], ())
