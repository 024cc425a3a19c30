"""A worker that starts before the first ``migrate``, as ``runserver`` does in a new project."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from live_push.engines.worker import WorkerLoop
from live_push.models import Delivery, WorkerHeartbeat
from tests.engines.processes import eventually


@contextmanager
def without_deliveries_table() -> Iterator[None]:
    """Rename the table meanwhile."""
    name = Delivery._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(Delivery, name, "renamed_delivery")
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(Delivery, "renamed_delivery", name)


@pytest.mark.django_db(transaction=True)
def test_the_worker_says_in_one_sentence_that_the_tables_are_missing_and_starts_when_they_exist(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = WorkerLoop(using="default")
    thread = threading.Thread(target=loop.run)
    with without_deliveries_table():
        thread.start()
        eventually(lambda: bool(caplog.records))
        assert not WorkerHeartbeat.objects.exists()
    eventually(WorkerHeartbeat.objects.exists)
    loop.stop()
    thread.join()
    [record] = caplog.records
    assert record.getMessage() == (
        "The tables of live_push do not exist yet. Run `manage.py migrate`: the worker starts then."
    )
    assert record.exc_info is None


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_waits_for_the_tables_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    loop = WorkerLoop(using="default")
    thread = threading.Thread(target=loop.run)
    with without_deliveries_table():
        thread.start()
        eventually(lambda: bool(caplog.records))
        loop.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert len(caplog.records) == 1
