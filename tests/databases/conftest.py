"""More databases beside the tests' own, and what is routed to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext, override_settings

READ_ONLY: dict[str, dict[str, Any]] = {
    "postgresql": {"options": "-c default_transaction_read_only=on"},
    "mysql": {"init_command": "SET SESSION TRANSACTION READ ONLY", "charset": "utf8mb4"},
    "sqlite": {"uri": True, "timeout": 30},
}


def point(alias: str, **settings: Any) -> None:
    """Make an alias lead to another database from now on."""
    connections[alias].close()
    connections[alias].settings_dict.update(settings)


@contextmanager
def pointed(alias: str, **settings: Any) -> Iterator[None]:
    """The same for a while."""
    before = dict(connections[alias].settings_dict)
    point(alias, **settings)
    try:
        yield
    finally:
        point(alias, **before)


class Replica:
    """The database that reads go to: the primary itself, read-only, until it lags."""

    def __init__(self, folder: Path) -> None:
        self._copy = folder / "replica.sqlite3"

    @staticmethod
    def settings() -> dict[str, Any]:
        """Those of the primary, read-only."""
        primary = connections["default"]
        name = primary.settings_dict["NAME"]
        return {
            "NAME": f"file:{name}?mode=ro" if primary.vendor == "sqlite" else name,
            "OPTIONS": READ_ONLY[primary.vendor],
        }

    def lag(self) -> None:
        """Stay as it is now. From here on it accepts writes, which the primary never sees."""
        primary = connections["default"]
        if primary.vendor != "sqlite":
            pytest.skip("It is a copy of an SQLite file, on which the suite runs too.")
        primary.ensure_connection()
        with closing(sqlite3.connect(self._copy)) as copy:
            primary.connection.backup(copy)
        point("replica", NAME=str(self._copy), OPTIONS={"timeout": 30})

    def asked(self) -> CaptureQueriesContext:
        """Capture the statements that it gets."""
        return CaptureQueriesContext(connections["replica"])


@pytest.fixture
def replica(transactional_db: None, tmp_path: Path) -> Iterator[Replica]:
    """A primary and a replica under the router of Django's documentation."""
    routed = override_settings(DATABASE_ROUTERS=["tests.databases.routers.PrimaryReplicaRouter"])
    with pointed("replica", **Replica.settings()), routed:
        yield Replica(tmp_path)


@pytest.fixture(params=["LegacyRouter", None])
def legacy(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """The alias of a database with users and without our tables; the router says so, or nobody does."""
    routers = [f"tests.databases.routers.{request.param}"] if request.param else []
    with (
        pointed("legacy", NAME=str(tmp_path / "legacy.sqlite3")),
        override_settings(DATABASE_ROUTERS=routers),
    ):
        for app in ("auth", "admin"):
            call_command("migrate", app, database="legacy", verbosity=0)
        yield "legacy"
