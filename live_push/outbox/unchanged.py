"""Leave out claimed deliveries that hold nothing new for their endpoint, before their attempts start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from django.db import connections

from live_push.models import ClientEndpoint, Delivery, DeliveryReason
from live_push.models.transactions import in_transaction, lock_free

from . import allowance, contents, dialect, hours, sql, transitions
from .claimed_delivery import ClaimedDelivery
from .give_back import take_back_probes


def end_unchanged(deliveries: Sequence[ClaimedDelivery], *, using: str) -> list[ClaimedDelivery]:
    """Cancel the deliveries that hold nothing new for their endpoint, and return them.

    Only for endpoints that get only changes; for others this costs nothing. A delivery holds nothing new if its body
    equals, apart from the ignored keys, the one that the client accepted last, and no other attempt was started since.
    The confirmation takes its sequence, so the endpoint is not behind. Resends and redelivered deliveries are sent in
    any case.
    """
    comparable = [item for item in deliveries if item.endpoint.only_changes and not item.redelivered]
    left_out: list[ClaimedDelivery] = []
    # A claim takes the deliveries of one endpoint, so one token means one endpoint.
    for _token, batch in groupby(sorted(comparable, key=_token_of), key=_token_of):
        ended = in_transaction(partial(_leave_out, list(batch), using=using), using=using)
        if ended and ended[0].endpoint.rate_limit_per_second is not None:
            # Their claim has spent it.
            allowance.give_back_rate(ended[0].endpoint_id, len(ended), using=using)
        left_out += ended
    if left_out:
        take_back_probes(left_out, using=using)
    return left_out


def _token_of(delivery: ClaimedDelivery) -> str:
    return str(delivery.lease_token)


def _leave_out(deliveries: Sequence[ClaimedDelivery], *, using: str) -> list[ClaimedDelivery]:
    ours = Delivery.objects.using(using).filter(lease_token=deliveries[0].lease_token, dialled_at=None)
    free = lock_free(ours, [delivery.pk for delivery in deliveries])
    accepted, now = _accepted(free, deliveries[0].endpoint, using=using)
    unchanged = [
        delivery
        for delivery in deliveries
        if accepted.get(delivery.pk) and accepted[delivery.pk] == contents.compared_digest(delivery, delivery.endpoint)
    ]
    if unchanged and now is not None:
        left_out = ours.filter(pk__in=[delivery.pk for delivery in unchanged])
        transitions.leave_out(left_out, DeliveryReason.UNCHANGED, now)
        counted = hours.count_left_out(unchanged[0].endpoint_id, len(unchanged), now, using=using)
        with connections[using].cursor() as cursor:
            for statement in [*_confirmations(unchanged, now, using=using), *counted]:
                cursor.execute(statement.sql, statement.values)
    return unchanged


def _accepted(
    delivery_ids: Sequence[int], endpoint: ClientEndpoint, *, using: str
) -> tuple[dict[int, str | None], datetime | None]:
    """Return by delivery the digest of what the client has accepted, and the database's time."""
    values: dict[str, Any] = {"version": endpoint.version}
    statement = sql.fill(
        sql.ACCEPTED_CONTENT,
        using=using,
        deliveries=dialect.any_of(values, "d.id", delivery_ids, using=using),
        now=dialect.select_moment(dialect.time_of_database(values, "now", using=using), using=using),
        trigger=connections[using].ops.quote_name("trigger"),
        audience=sql.audience_holds("d.profile_id", using=using),
    )
    with connections[using].cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    return {pk: digest for pk, _, digest in rows}, dialect.read_moment(rows[0][1]) if rows else None


def _confirmations(deliveries: Sequence[ClaimedDelivery], now: datetime, *, using: str) -> list[dialect.Statement]:
    """Return the statements that let the confirmations, which exist, take the deliveries' sequences and digests."""
    table, confirmed_at = sql.tables(using)["confirmation"], dialect.adapt_moment(now, using=using)
    rows = [
        (
            delivery.endpoint_id,
            delivery.profile_id or 0,
            delivery.position,
            confirmed_at,
            contents.confirmed_digest(delivery, delivery.endpoint),
        )
        for delivery in deliveries
    ]
    # Nothing was accepted now, so the time of the last acceptance stays.
    newer = dialect.upsert(
        ["endpoint_id", "profile_id"], dict.fromkeys(["sequence", "digest"], "{new}"), table=table, using=using
    )
    return dialect.inserts(table, sql.CONFIRMATIONS, rows, name="confirmation", using=using, conflict=newer)
