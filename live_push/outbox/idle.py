"""What an idle worker asks the database: whether a delivery is due, and whether there is periodic work to do.

An idle worker asks up to ten times a second, so each question is one cheap statement. It reads a few entries of an
index, and the number does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db import connections
from django.db.models import Model

from live_push.models import (
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    WorkerHeartbeat,
    clock,
)
from live_push.rules.result import ErrorCode

from . import dialect
from .catch_up import LOOKING_FOR
from .release import SILENT_AFTER
from .sql import PRIORITIES

Values = dict[str, Any]


class Look(NamedTuple):
    """What an idle worker must know to decide how long it may wait.

    ``seconds_until_due``
        The time until a delivery is due at an endpoint that is active and does not rest, by the database's clock: 0 or
        less if one is due now, ``None`` if none waits. Isolated deliveries do not count.
    ``is_leased``
        Whether a worker holds a delivery, so that one may have to be released.
    """

    seconds_until_due: float | None
    is_leased: bool

    @property
    def is_due(self) -> bool:
        """Return whether a delivery is due now."""
        return self.seconds_until_due is not None and self.seconds_until_due <= 0


class Chores(NamedTuple):
    """The periodic work that there is to do.

    ``workers``
        The number of workers whose heartbeat is recent.
    ``catch_up``
        Whether :func:`~live_push.outbox.catch_up.catch_up` may find something.
    ``heal``
        Whether :func:`~live_push.outbox.uncertain.heal` may find something.
    ``outside``
        Whether :func:`~live_push.outbox.outside.end_outside` may find something.
    ``isolated``
        Whether an isolated delivery is due, see :func:`~live_push.outbox.due_work.isolated_deliveries_due`.
    """

    workers: int
    catch_up: bool
    heal: bool
    outside: bool
    isolated: bool


def look(*, using: str) -> Look:
    """Look for due deliveries, with one statement."""
    now, due_at, is_leased = _fetch(_look, using)
    if due_at is None:
        return Look(None, bool(is_leased))
    seconds = (dialect.read_moment(due_at) - dialect.read_moment(now)).total_seconds()
    return Look(seconds, bool(is_leased))


def due_statement(using: str) -> tuple[str, Values]:
    """Return a statement that says whether a delivery is due now, and its parameters.

    It is for a driver, so that a worker that runs it again and again does not pay for Django.
    """
    values: Values = {}
    first_due, now = _first_due(using), dialect.time_of_database(values, "now", using=using)
    return f"SELECT COALESCE({_DUE_AT} <= {now}, FALSE) FROM ({first_due}) first_due", values  # noqa: S608  (our own words)


def chores(*, using: str) -> Chores:
    """Return which periodic work there is to do, with one statement."""
    workers, *answers = _fetch(_chores, using)
    return Chores(workers, *map(bool, answers))


def _fetch(build: Callable[[str], tuple[str, Values]], using: str) -> Any:
    # If a test has stopped the clock, the values contain the stopped time, so the cached ones can't be used.
    sql, values = build.__wrapped__(using) if clock.is_stopped() else build(using)  # type: ignore[attr-defined]
    with connections[using].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()


@lru_cache(maxsize=8)
def _look(using: str) -> tuple[str, Values]:
    values: Values = {}
    now = dialect.time_of_database(values, "now", using=using)
    is_leased = f"EXISTS (SELECT 1 FROM {_table(Delivery, using)} WHERE status = 'sending' AND ended_at IS NULL)"  # noqa: S608  (our own words)
    return f"SELECT {now}, {_DUE_AT}, {is_leased} FROM ({_first_due(using)}) first_due", values  # noqa: S608  (our own words)


def _first_due(using: str) -> str:
    """Return a table of when the first delivery of each active endpoint and priority is due, and of rests."""
    # ORDER BY with LIMIT makes each database read the index in order. For a MIN(), MariaDB would read the whole log.
    return f"""
SELECT h.rests_until AS rests_until,
       (SELECT d.next_attempt_at FROM {_table(Delivery, using)} d
        WHERE d.endpoint_id = e.id AND d.priority = p.priority AND d.next_attempt_at IS NOT NULL AND d.stalls = 0
        ORDER BY d.next_attempt_at LIMIT 1) AS due_at
FROM {_table(ClientEndpoint, using)} e
LEFT JOIN {_table(EndpointHealth, using)} h ON h.endpoint_id = e.id
CROSS JOIN ({PRIORITIES}) p
WHERE e.is_active
"""  # noqa: S608  (our own words)


_DUE_AT: Final = "MIN(CASE WHEN rests_until > due_at THEN rests_until ELSE due_at END)"


@lru_cache(maxsize=8)
def _chores(using: str) -> tuple[str, Values]:
    values: Values = {}
    now = dialect.time_of_database(values, "now", using=using)
    seen_after = dialect.time_of_database(values, "seen_after", later=-SILENT_AFTER, using=using)
    activated_after = dialect.time_of_database(values, "activated_after", later=-2 * LOOKING_FOR, using=using)
    endpoint, health = _table(ClientEndpoint, using), _table(EndpointHealth, using)
    sql = f"""
SELECT (SELECT COUNT(*) FROM {_table(WorkerHeartbeat, using)} WHERE seen_at > {seen_after}),
       EXISTS (SELECT 1 FROM {health} h JOIN {endpoint} e ON e.id = h.endpoint_id
               WHERE e.is_active AND h.activated_at > {activated_after}),
       EXISTS (SELECT 1 FROM {_table(Confirmation, using)} c JOIN {endpoint} e ON e.id = c.endpoint_id
               WHERE e.is_active AND c.uncertain_since IS NOT NULL),
       EXISTS (SELECT 1 FROM {endpoint} e
               JOIN {health} h ON h.endpoint_id = e.id
               CROSS JOIN ({PRIORITIES}) p
               WHERE e.audience = 'listed' AND (h.outside_check_at IS NULL OR h.outside_check_at <= {now})
                     AND (SELECT d.id FROM {_table(Delivery, using)} d
                          WHERE d.endpoint_id = e.id AND d.priority = p.priority AND d.next_attempt_at IS NOT NULL
                          ORDER BY d.next_attempt_at LIMIT 1) IS NOT NULL),
       EXISTS (SELECT 1 FROM {endpoint} e
               LEFT JOIN {health} h ON h.endpoint_id = e.id
               WHERE e.is_active AND (h.rests_until IS NULL OR h.rests_until <= {now})
                     AND e.id IN (SELECT d.endpoint_id FROM {_table(Delivery, using)} d
                                  WHERE d.last_error_code = '{ErrorCode.LEASE_LOST.value}' AND d.stalls > 0
                                        AND d.next_attempt_at <= {now}))
"""  # noqa: S608  (our own words)
    return sql, values


def _table(model: type[Model], using: str) -> str:
    return connections[using].ops.quote_name(model._meta.db_table)
