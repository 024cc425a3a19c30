"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code.
settings.register_profile("live_push", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("live_push")


def need(condition: object, how: str) -> None:
    """Skip the test unless it has what it needs; ``how`` is a sentence that tells how to get it.

    Where ``LIVE_PUSH_NO_SKIPS`` is set the test fails instead, so that nothing goes untested unnoticed.
    """
    if condition:
        return
    if os.environ.get("LIVE_PUSH_NO_SKIPS"):
        pytest.fail(f"Nothing may be skipped here. {how}")
    pytest.skip(how)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever gets the database through a fixture is chosen by ``-m django_db`` too."""
    for item in items:
        asks = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
        if asks and item.get_closest_marker("django_db") is None:
            item.add_marker(pytest.mark.django_db(transaction="transactional_db" in asks))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let commits not wait for the disk. The tests make thousands of commits, and none must survive a power failure."""
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock():
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
            # The option holds for connections that begin after it.
            connection.close()


@pytest.fixture(autouse=True)
def _no_leftover_queries() -> Iterator[None]:
    yield
    for used in connections.all(initialized_only=True):
        used.queries_log.clear()
