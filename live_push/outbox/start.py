"""Start the attempts of claimed deliveries, just before their requests are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction

from live_push import conf
from live_push.models import Audience, ClientEndpoint
from live_push.models.transactions import is_locked
from live_push.rules import local_clock

from . import contents, dialect, sql, transitions
from .claimed_delivery import ClaimedDelivery
from .lease_times import attempt_time


class _Started(NamedTuple):
    """What the start of an attempt has written, and when."""

    attempts_made: int
    run_attempts: int
    run_started_at: datetime
    dialled_at: datetime
    leased_until: datetime
    now: datetime


def start(deliveries: Sequence[ClaimedDelivery], *, using: str, patient: Collection[int] = ()) -> list[ClaimedDelivery]:
    """Start the attempts of claimed deliveries, and return those that may be sent.

    Each gets ``not_after``, the local time until which its request may be written: the sender compares the local clock
    with it before each write, so that the answer comes, or times out, while the lease lasts.

    A delivery is not started if

    - its lease is lost, or ends before an attempt could end: another worker may have the delivery by then;
    - its run ended while it waited in this worker;
    - another transaction has locked its row;
    - its endpoint is not active any more, or has another version than ``delivery.endpoint``;
    - its member is outside the endpoint's audience.

    ``patient`` are endpoints that get a longer deadline, see :func:`~live_push.outbox.lease_times.attempt_time`.
    """
    started: list[ClaimedDelivery] = []
    # A claim takes the deliveries of one endpoint, so one token means one endpoint.
    ordered = sorted(deliveries, key=lambda delivery: str(delivery.lease_token))
    for _token, batch in groupby(ordered, key=lambda delivery: delivery.lease_token):
        started += _start(list(batch), using=using, patient=patient)
    chosen = {id(delivery) for delivery in started}
    return [delivery for delivery in deliveries if id(delivery) in chosen]


def _start(deliveries: Sequence[ClaimedDelivery], *, using: str, patient: Collection[int]) -> Iterator[ClaimedDelivery]:
    endpoint = deliveries[0].endpoint
    total = timedelta(seconds=conf.current().TOTAL_TIMEOUT_SECONDS)
    # Read the local clock before the database's, so that a slow answer of the database makes no deadline later.
    read_at = local_clock.local_now()
    rows = _update(deliveries, attempt_time(patient=endpoint.pk in patient), total, using=using)
    if len(rows) < len(deliveries):
        rows |= _read_started(deliveries, using=using)
    for delivery in deliveries:
        if (row := rows.get(delivery.pk)) is not None:
            delivery.attempts_made, delivery.run_attempts = row.attempts_made, row.run_attempts
            delivery.run_started_at, delivery.dialled_at = row.run_started_at, row.dialled_at
            delivery.leased_until = row.leased_until
            delivery.not_after = read_at + (row.leased_until - row.now - total).total_seconds()
            yield delivery


def _update(
    deliveries: Sequence[ClaimedDelivery], lease: timedelta, total: timedelta, *, using: str
) -> dict[int, _Started]:
    """Start the deliveries. Return the new values of the started ones by id, if the database returns them."""
    try:
        if deliveries[0].endpoint.only_changes:
            return _update_and_forget(deliveries, lease, total, using=using)
        return _execute_update(deliveries, lease, total, using=using)
    except DatabaseError as error:
        if not is_locked(error):
            raise
    if len(deliveries) == 1:
        return {}
    # MariaDB refuses the whole statement if one of the rows is locked.
    rows: dict[int, _Started] = {}
    for delivery in deliveries:
        rows |= _update([delivery], lease, total, using=using)
    return rows


def _update_and_forget(
    deliveries: Sequence[ClaimedDelivery], lease: timedelta, total: timedelta, *, using: str
) -> dict[int, _Started]:
    """Start the deliveries, and forget what their clients have accepted: they may process these requests."""
    with transaction.atomic(using=using):
        rows = _execute_update(deliveries, lease, total, using=using) or _read_started(deliveries, using=using)
        # Only of those that were started: another transaction may have locked the other confirmations.
        started = [delivery.profile_id or 0 for delivery in deliveries if delivery.pk in rows]
        contents.forget_accepted(deliveries[0].endpoint_id, started, using=using)
    return rows


def _execute_update(
    deliveries: Sequence[ClaimedDelivery], lease: timedelta, total: timedelta, *, using: str
) -> dict[int, _Started]:
    values: dict[str, Any] = {}
    table, now = _table(using), dialect.time_of_database(values, "now", using=using)
    update = transitions.start(
        table, now=now, leased_until=dialect.time_of_database(values, "leased_until", later=lease, using=using)
    )
    conditions = [
        _ours(values, deliveries, using=using),
        "dialled_at IS NULL",
        f"leased_until > {dialect.time_of_database(values, 'must_last', later=total, using=using)}",
        _is_current(values, deliveries[0].endpoint, using=using),
    ]
    if (window := deliveries[0].endpoint.policy.window_seconds) is not None:
        oldest = dialect.time_of_database(values, "oldest", later=-timedelta(seconds=window), using=using)
        conditions.append(f"(run_started_at IS NULL OR run_started_at > {oldest})")
    sql = dialect.without_waiting(update, table=table, condition=" AND ".join(conditions), using=using)
    if not dialect.returns_updated_rows(using):
        with connections[using].cursor() as cursor:
            cursor.execute(sql, values)
        return {}
    return _rows(f"{sql} RETURNING {_columns(now, using=using)}", values, using=using)


def _read_started(deliveries: Sequence[ClaimedDelivery], *, using: str) -> dict[int, _Started]:
    """Return the values of the started deliveries by id, including those that an interrupted earlier call started.

    The endpoint may have changed since that call, so its version is compared here, too.
    """
    values: dict[str, Any] = {}
    now = dialect.time_of_database(values, "now", using=using)
    ours, current = _ours(values, deliveries, using=using), _is_current(values, deliveries[0].endpoint, using=using)
    condition = f"{ours} AND dialled_at IS NOT NULL AND {current}"
    sql = f"SELECT {_columns(now, using=using)} FROM {_table(using)} WHERE {condition}"  # noqa: S608  (our own words)
    return _rows(sql, values, using=using)


def _columns(now: str, *, using: str) -> str:
    moments = [dialect.select_moment(sql, using=using) for sql in ("run_started_at", "dialled_at", "leased_until", now)]
    return ", ".join(["id", "attempts_made", "run_attempts", *moments])


def _rows(sql: str, values: dict[str, Any], *, using: str) -> dict[int, _Started]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, values)
        rows = cursor.fetchall()
    return {pk: _Started(made, in_run, *map(dialect.read_moment, moments)) for pk, made, in_run, *moments in rows}


def _ours(values: dict[str, Any], deliveries: Sequence[ClaimedDelivery], *, using: str) -> str:
    values["token"] = dialect.token(deliveries[0].lease_token, using=using)
    ids = dialect.any_of(values, "id", [delivery.pk for delivery in deliveries], using=using)
    return f"{ids} AND lease_token = %(token)s"


def _is_current(values: dict[str, Any], endpoint: ClientEndpoint, *, using: str) -> str:
    values |= {"endpoint": endpoint.pk, "version": endpoint.version}
    same = "e.id = %(endpoint)s AND e.version = %(version)s AND e.is_active"
    current = f"EXISTS (SELECT 1 FROM {sql.tables(using)['endpoint']} e WHERE {same})"  # noqa: S608  (our own words)
    if endpoint.audience == Audience.ALL:
        return current
    # The member may have left, and the list may have changed, since the delivery was recorded.
    member = f"{_table(using)}.profile_id"
    return f"{current} AND {sql.fill(sql.IS_LISTED, using=using, member=member, of='%(endpoint)s')}"


def _table(using: str) -> str:
    return sql.tables(using)["delivery"]
