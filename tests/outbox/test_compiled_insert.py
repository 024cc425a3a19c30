"""Rows that are inserted by a statement that was compiled once."""

from __future__ import annotations

import pytest

from live_push.models import Attempt, Confirmation, Delivery
from live_push.models.clock import db_now
from live_push.outbox.compiled_insert import MOST_PARAMETERS, CompiledInsert
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import statements

pytestmark = pytest.mark.django_db(transaction=True)


def test_more_rows_than_one_statement_takes_are_inserted_and_know_their_keys() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    delivery, now = Delivery.objects.get(), db_now("default")
    rows = [Attempt(delivery=delivery, number=number, trigger="push", started_at=now) for number in range(1, 201)]
    fitting = MOST_PARAMETERS // (len(Attempt._meta.concrete_fields) - 1)
    insert = CompiledInsert(Attempt, using="default")
    assert len(statements(lambda: insert.run(rows))) == -(-200 // fitting)
    assert dict(Attempt.objects.values_list("pk", "number")) == {row.pk: row.number for row in rows}
    assert not any(row._state.adding for row in rows)


def test_a_pair_that_is_there_is_updated() -> None:
    endpoint, profile, now = ClientEndpointFactory(), UserProfileFactory(), db_now("default")
    insert = CompiledInsert(Confirmation, using="default", unique=["endpoint", "profile"])
    for sequence in (1, 2):
        row = Confirmation(endpoint=endpoint, profile=profile, sequence=sequence, confirmed_at=now, digest="d")
        insert.run([row])
    assert list(Confirmation.objects.values_list("sequence", flat=True)) == [2]


def test_nothing_is_inserted_by_no_statement() -> None:
    assert statements(lambda: CompiledInsert(Attempt, using="default").run([])) == []
