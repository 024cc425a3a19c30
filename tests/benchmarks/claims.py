"""How fast deliveries change hands in the database: claims and settlements by the hundred, beside bare UPDATEs."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection

from live_push.delivery.send import outcome_of, prepare
from live_push.models import Delivery
from live_push.models.clock import db_now
from live_push.outbox import start
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.settle import settle
from live_push.rules.batched import batched
from tests.support import OK

from . import world
from .harness import Bench, Row, alternate

BATCH = 100


@dataclass(frozen=True)
class Rates:
    """Deliveries a second."""

    claims: float
    settlements: float


def measure(bench: Bench) -> Iterator[Row]:
    ids = world.members(bench.scaled(2000, 2 * BATCH))
    batches, bare_batches, bare_rows = f"batches of {BATCH}", f"bare UPDATE of {BATCH} rows", "bare UPDATE of one row"
    rates = alternate(
        {
            batches: partial(_own, ids),
            bare_batches: partial(_bare, ids, BATCH),
            bare_rows: partial(_bare, ids, 1),
        },
        bench.rounds,
    )
    for step in ("claims", "settlements"):
        values = {side: [getattr(rate, step) for rate in some] for side, some in rates.items()}
        for bare in (bare_batches, bare_rows):
            yield Row(f"{step} in {batches} / {bare}", "1/s", {side: values[side] for side in (batches, bare)})


def _own(ids: list[int]) -> Rates:
    """What a worker does with its batches, one after the other; the request between is left out."""
    (endpoint,) = world.endpoints("https://client.example.com/", in_flight=BATCH)
    world.fill_outbox(ids)
    world.go()
    worker = ClaimRequest(name="benchmark", window=BATCH)
    claiming = settling = 0.0
    for _ in range(0, len(ids), BATCH):
        began = time.perf_counter()
        (share,) = claim(worker, using="default")
        claiming += time.perf_counter() - began
        for delivery in share.deliveries:
            delivery.endpoint = share.endpoint
        started = start.start(share.deliveries, using="default")
        outcomes = [outcome_of(prepare(delivery, share.endpoint), OK) for delivery in started]
        began = time.perf_counter()
        settle(outcomes, using="default", random=random.random, worker=worker.name, drained=[endpoint.pk])
        settling += time.perf_counter() - began
    _check_all_succeeded(ids)
    return Rates(len(ids) / claiming, len(ids) / settling)


def _bare(ids: list[int], batch: int) -> Rates:
    """The same change of the same columns, each statement in autocommit; nothing is chosen, locked, or logged."""
    world.endpoints("https://client.example.com/")
    world.fill_outbox(ids)
    delivery_ids = list(Delivery.objects.order_by("pk").values_list("pk", flat=True))
    token = Delivery._meta.get_field("lease_token").get_db_prep_value(uuid.uuid4(), connection)
    now = db_now("default")
    ends, ended = (connection.ops.adapt_datetimefield_value(at) for at in (now + timedelta(minutes=1), now))
    rates = Rates(
        _per_second(
            delivery_ids,
            batch,
            "status = 'sending', lease_token = %s, leased_until = %s, next_attempt_at = NULL,"
            " claims_made = claims_made + 1",
            token,
            ends,
        ),
        _per_second(
            delivery_ids,
            batch,
            "status = 'succeeded', lease_token = NULL, leased_until = NULL, last_status_code = %s, ended_at = %s",
            200,
            ended,
        ),
    )
    _check_all_succeeded(ids)
    return rates


def _per_second(delivery_ids: list[int], batch: int, change: str, *parameters: Any) -> float:
    table = connection.ops.quote_name(Delivery._meta.db_table)
    sql = f"UPDATE {table} SET {change} WHERE id IN ({', '.join(['%s'] * batch)})"  # noqa: S608  (our own words)
    began = time.perf_counter()
    with connection.cursor() as cursor:
        for some in batched(delivery_ids, batch):
            cursor.execute(sql, [*parameters, *some])
    return len(delivery_ids) / (time.perf_counter() - began)


def _check_all_succeeded(ids: list[int]) -> None:
    done = Delivery.objects.filter(status="succeeded")
    members = set(done.values_list("profile_id", flat=True))
    if members != set(ids) or done.count() != len(ids):
        raise AssertionError(f"Of {len(ids)} deliveries {done.count()} succeeded, for {len(members)} members.")
