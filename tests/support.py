"""What several tests need: a client that answers by script, and a moved clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from live_push.delivery.transport import Request
from live_push.engines.run import run_once
from live_push.models import ClientEndpoint, UserProfile
from live_push.rules.result import Result

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

OK = Result(status_code=200, body=b"{}", body_complete=True)


def status(code: int, body: bytes = b"", **more: Any) -> Result:
    """An answer with this status code."""
    return Result(status_code=code, body=body, body_complete=True, **more)


class ScriptedTransport:
    """Stands for the client: records each request and answers with the next result, then with the last one for ever."""

    def __init__(self, *results: Result | Callable[[Request], Result]) -> None:
        self.requests: list[Request] = []
        self._results = list(results) or [OK]

    def send(self, request: Request) -> Result:
        self.requests.append(request)
        result = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if not callable(result):
            return result
        try:
            return result(request)
        finally:
            # A script that touches the database does so in a worker's thread, whose connection nobody else closes.
            connections.close_all()

    def close(self) -> None:
        pass


def deliver(*results: Result | Callable[[Request], Result]) -> list[Request]:
    """Deliver what is due now, one at a time, to a client that answers so; returns the requests it got."""
    transport = ScriptedTransport(*results)
    run_once("default", threads=1, transport=transport, random=lambda: 0.0)
    return transport.requests


def multiply_profiles(until: int) -> None:
    """Copy the stored profiles until there are so many, without a push: by SQL, because thousands are wanted."""
    columns = [field.column for field in UserProfile._meta.concrete_fields if not field.unique]
    names = ", ".join(map(connection.ops.quote_name, columns))
    table = connection.ops.quote_name(UserProfile._meta.db_table)
    with connection.cursor() as cursor:
        while (missing := until - UserProfile.objects.count()) > 0:
            cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} LIMIT %s", [missing])  # noqa: S608


def is_held(endpoint: ClientEndpoint, member: UserProfile) -> bool:
    """Whether the endpoint's audience holds the member, by brute force."""
    return endpoint.audience == "all" or member.client_branding_id in endpoint.brandings


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def command(name: str, *arguments: object, code: int = 0, terminal: bool = False, **options: Any) -> tuple[str, str]:
    """Run a management command, expect its exit code, and return what it printed on stdout and stderr."""
    out, err = (Terminal(), Terminal()) if terminal else (StringIO(), StringIO())
    left_with = 0
    try:
        call_command(name, *map(str, arguments), stdout=out, stderr=err, **options)
    except CommandError as error:
        left_with = error.returncode
        err.write(str(error))
    except SystemExit as leaving:
        left_with = int(leaving.code or 0)
    assert left_with == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def statements(action: Callable[[], object]) -> list[str]:
    """The SQL that an action runs on the default database, transaction control left out."""
    with CaptureQueriesContext(connection) as captured:
        action()
    # MariaDB's SET STATEMENT … FOR is a prefix of the statement itself.
    control = re.compile(r"\s*(BEGIN|COMMIT|SAVEPOINT|RELEASE|ROLLBACK|SET (?!STATEMENT))")
    return [query["sql"] for query in captured if not control.match(query["sql"])]
