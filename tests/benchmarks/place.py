"""Where a benchmark happens: a database of its own, made and dropped, certificates, and the settings for both."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = f"live_push_benchmark_{os.getpid()}"
SERVERS = {
    "postgresql": os.environ.get("BENCHMARK_POSTGRESQL", "postgres://postgres@127.0.0.1:5432"),
    "mariadb": os.environ.get("BENCHMARK_MARIADB", "mysql://root@127.0.0.1:3306"),
}


@contextmanager
def place(database: str, live_push: dict[str, Any] | None = None) -> Iterator[None]:
    """Django set up on an empty database of that kind, for this process and those it starts."""
    with tempfile.TemporaryDirectory(prefix="live_push_benchmark_") as name:
        folder = Path(name)
        given = {
            "database_url": f"sqlite:///{folder / 'db.sqlite3'}"
            if database == "sqlite"
            else f"{SERVERS[database]}/{NAME}",
            "authority": str(folder / "authority.pem"),
            "live_push": live_push or {},
        }
        os.environ |= {
            "LIVE_PUSH_BENCHMARK": json.dumps(given),
            "LIVE_PUSH_BENCHMARK_CERTIFICATE": str(folder / "server.pem"),
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
            # What the bare clients trust.
            "REQUESTS_CA_BUNDLE": given["authority"],
            "SSL_CERT_FILE": given["authority"],
        }
        _administer(database, f"CREATE DATABASE {NAME}")
        try:
            import django

            django.setup()
            from django.core.management import call_command
            from django.db import connections

            from live_push.testing.certificate_authority import CertificateAuthority

            authority = CertificateAuthority()
            (folder / "authority.pem").write_bytes(authority.pem)
            (folder / "server.pem").write_bytes(authority.issue(["127.0.0.1", "localhost"]))
            call_command("migrate", run_syncdb=True, verbosity=0)
            yield
            connections.close_all()
        finally:
            _administer(database, f"DROP DATABASE {NAME}")


def _administer(database: str, statement: str) -> None:
    if database == "postgresql":
        import psycopg

        url = SERVERS[database].replace("postgres://", "postgresql://") + "/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement + (" WITH (FORCE)" if statement.startswith("DROP") else ""))
    elif database == "mariadb":
        import environ
        import MySQLdb

        parts = environ.Env.db_url_config(SERVERS[database] + "/mysql")
        connection = MySQLdb.connect(
            host=parts["HOST"], port=int(parts["PORT"]), user=parts["USER"], password=parts["PASSWORD"]
        )
        connection.cursor().execute(statement)
        connection.close()
