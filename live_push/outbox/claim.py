"""Claim due deliveries for a worker: under a lease, with a token, and one at a time for each endpoint and profile.

An endpoint and a profile are called a pair. Each endpoint's deliveries are claimed in a short transaction of their own,
which locks the endpoint's health row. The claim itself is a compare-and-set, and the database refuses two deliveries in
flight for one pair, so correctness depends on neither the lock nor SKIP LOCKED.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.models import Q

from live_push.models import (
    ClientEndpoint,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    Ordering,
    Push,
    PushTrigger,
)
from live_push.models.deliveries import is_run_over
from live_push.models.transactions import is_locked, lock_free, retried
from live_push.outbox.claim_request import ClaimRequest
from live_push.rules import breaker, local_clock
from live_push.rules.ordering import Waiting, next_and_superseded
from live_push.signals import credentials_changed

from . import allowance, announce, contents, dialect, due_work, lease_times, sql, transitions
from .claimed_delivery import ClaimedDelivery, ClaimedPush
from .health_rows import HealthRows

logger = logging.getLogger("live_push.outbox")

_PAYLOAD: Any = Push._meta.get_field("payload")
_ERROR: Any = Push._meta.get_field("error")

MOST_SORTED_OUT = 1000
"""If none of this many examined deliveries can be sent, a claim returns nothing, and the next claim continues."""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The deliveries of one endpoint that a worker claimed, and how many of its requests may be in flight.

    The worker holds ``slots`` until ``slots_until``, in seconds of the local clock. A slot is the right to have one
    request in flight, and each attempt must end before ``slots_until``.
    """

    endpoint: ClientEndpoint
    slots: int
    slots_until: float
    deliveries: list[ClaimedDelivery]


class Candidate(NamedTuple):
    """A due delivery, before it is compared with the other deliveries of its pair."""

    pk: int
    profile_id: int
    run_started_at: datetime | None


def claim(request: ClaimRequest, *, using: str) -> list[Claimed]:
    """Claim due deliveries, endpoint by endpoint, so that no endpoint waits for the backlog of another one."""
    due = due_work.find_due_work(request, using=using)
    for pk in request.endpoints.keys() - due.keys():
        del request.endpoints[pk]
    versions = {pk: work.version for pk, work in due.items() if pk not in request.full}
    endpoints = _read_endpoints(versions, request.endpoints, using=using)
    if not endpoints:
        # Nothing is due, or the endpoints were disabled after the query for due work.
        return []
    # Claim only a fair share: other workers can't send the deliveries that are held here.
    at_most = max(1, request.window // ((len(endpoints) + len(request.full)) * max(1, request.workers)))
    shares = []
    for endpoint in endpoints:
        if request.held.get(endpoint.pk, 0) >= max(at_most, endpoint.max_in_flight):
            continue
        share = _try_share(request, endpoint, at_most, due[endpoint.pk].priorities, using=using)
        if share is None:
            continue
        shares.append(share)
        if request.isolated and share.deliveries:
            break
    return shares


def renew_slots(request: ClaimRequest, endpoint_ids: Collection[int], *, using: str) -> list[Claimed]:
    """Renew the leases of the worker's slots at these endpoints, without claiming more deliveries.

    If the result has 0 slots for an endpoint, nothing may be sent to it for now, for example because it is not active
    any more. The result leaves out an endpoint whose health row another worker has locked.
    """
    shares = (
        _try_share(request, endpoint, 0, [], taking=False, using=using)
        if endpoint.is_active
        else Claimed(endpoint=endpoint, slots=0, slots_until=0.0, deliveries=[])
        for endpoint in ClientEndpoint.objects.using(using).filter(pk__in=endpoint_ids).order_by("pk")
    )
    return [share for share in shares if share is not None]


def active_endpoints(ids: Sequence[int], *, using: str) -> list[ClientEndpoint]:
    """Read these endpoints from the database, and return the active ones in the order of their ids."""
    return list(ClientEndpoint.objects.using(using).active().filter(pk__in=ids).order_by("pk"))


def _read_endpoints(
    versions: Mapping[int, int], known: dict[int, ClientEndpoint], *, using: str
) -> list[ClientEndpoint]:
    """Return the active ones of these endpoints in the order of their ids. Read only those that have changed."""
    changed = [pk for pk, version in versions.items() if pk not in known or known[pk].version != version]
    for endpoint in active_endpoints(changed, using=using) if changed else ():
        known[endpoint.pk] = endpoint
    return [known[pk] for pk in sorted(versions) if pk in known]


def _try_share(
    request: ClaimRequest, endpoint: ClientEndpoint, *arguments: Any, using: str, **more: Any
) -> Claimed | None:
    try:
        return retried(partial(_share, request, endpoint, *arguments, using=using, **more), using=using)
    except DatabaseError as error:
        # Nothing was claimed, and the next claim tries again. Locked rows are normal, so they are not logged.
        if not is_locked(error):
            logger.warning("Nothing was claimed for endpoint %s this time.", endpoint.pk, exc_info=True)
        return None


def _share(
    request: ClaimRequest,
    endpoint: ClientEndpoint,
    at_most: int,
    priorities: Sequence[int],
    *,
    using: str,
    taking: bool = True,
) -> Claimed | None:
    with transaction.atomic(using=using):
        # Read the local clock before the database's, so that a slow answer of the database does not lengthen the lease.
        read_at = local_clock.local_now()
        rows = HealthRows([endpoint.pk], using=using)
        health, now = rows.by_id.get(endpoint.pk), rows.now
        if health is None:
            # Another worker holds the row, or the endpoint was deleted.
            return None
        lease = lease_times.slot_time(patient=endpoint.pk in request.patient)
        slots_until = read_at + lease.total_seconds()
        permission = breaker.may_try(health.breaker, now)
        may_go = permission == "go" or (permission == "probe" and taking)
        if not may_go or _needs_credentials(endpoint, health, using=using):
            rows.write()
            return Claimed(endpoint=endpoint, slots=0, slots_until=slots_until, deliveries=[])
        held = request.held.get(endpoint.pk, 0)
        slots = allowance.slots_free_for(request, health, endpoint, now)
        # With a rate limit, claim only what may be sent now: releasing a full window at once would exceed the limit.
        is_limited = endpoint.rate_limit_per_second is not None
        room = (slots if is_limited else max(slots, at_most)) - held if slots and taking else 0
        room = 1 if (permission == "probe" or request.isolated) and room > 0 else room
        room = min(room, allowance.rate(health, endpoint, now))
        deliveries = _take(request, endpoint, health, room, priorities, now, using=using) if room > 0 else []
        allowance.spend(health, endpoint, len(deliveries))
        if permission == "probe" and deliveries:
            health.breaker = breaker.start_probe(health.breaker, now, lease.total_seconds())
            health.probe_profile_id = deliveries[0].profile_id
        slots = min(slots, held + len(deliveries))
        allowance.lease_slots(health, request.name, slots, until=now + lease)
        rows.write()
        return Claimed(endpoint=endpoint, slots=slots, slots_until=slots_until, deliveries=deliveries)


def _needs_credentials(endpoint: ClientEndpoint, health: EndpointHealth, *, using: str) -> bool:
    """Return whether the endpoint's secrets can't be read, and note it in its health.

    Its due deliveries then wait, and no attempt is counted.
    """
    # The key may have been lost since another claim has decrypted the secrets.
    endpoint.forget_decrypted()
    problem = endpoint.credentials_problem()
    if health.needs_credentials != bool(problem):
        health.needs_credentials = bool(problem)
        credentials_changed.send(sender=ClientEndpoint, endpoint_id=endpoint.pk, problem=problem, using=using)
    return bool(problem)


def _take(
    request: ClaimRequest,
    endpoint: ClientEndpoint,
    health: EndpointHealth,
    room: int,
    priorities: Sequence[int],
    now: datetime,
    *,
    using: str,
) -> list[ClaimedDelivery]:
    probing = health.breaker_state != "closed"
    wanted = room + 1 if probing else room
    while True:
        candidates = _candidates(request, endpoint, wanted, priorities, now, using=using)
        if probing:
            # The last probe may have failed because of its profile, so prefer a delivery of another one.
            candidates.sort(key=lambda candidate: candidate.profile_id == health.probe_profile_id)
        sendable, ended = _sort_out(candidates, endpoint, now, using=using)
        if sendable or not ended or wanted > MOST_SORTED_OUT:
            return _compare_and_set(request, endpoint, [delivery.pk for delivery in sendable[:room]], now, using=using)
        # After a long rest, the runs of most due deliveries may be over. Examine more deliveries, so that the few that
        # can be sent do not have to wait for the next claims.
        wanted *= 4


def cancel_superseded(profile_ids: Collection[int], endpoint: ClientEndpoint, now: datetime, *, using: str) -> int:
    """Cancel the deliveries of these profiles that newer states supersede, and return their number.

    A delivery that another transaction has locked is cancelled the next time.
    """
    pairs = _pairs(profile_ids, endpoint, now, using=using)
    superseded: list[int] = []
    for pair, confirmed in pairs:
        superseded += next_and_superseded(pair, ordering=endpoint.ordering, confirmed=confirmed).superseded
    return _supersede(superseded, endpoint, now, using=using)


def _sort_out(
    candidates: Sequence[Candidate], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> tuple[list[Candidate], int]:
    """Return the candidates that may be sent, and the number of deliveries that were ended: superseded or exhausted."""
    if not candidates:
        return [], 0
    chosen: set[int] = set()
    superseded: list[int] = []
    for pair, confirmed in _pairs({delivery.profile_id for delivery in candidates}, endpoint, now, using=using):
        decision = next_and_superseded(pair, ordering=endpoint.ordering, confirmed=confirmed)
        superseded += decision.superseded
        if decision.next_id is not None:
            chosen.add(decision.next_id)
    sendable = [delivery for delivery in candidates if delivery.pk in chosen]
    policy = endpoint.policy
    over = {delivery.pk for delivery in sendable if is_run_over(delivery.run_started_at, policy, now)}
    ended = _supersede(superseded, endpoint, now, using=using)
    ended += _give_up(over, now, using=using)
    return [delivery for delivery in sendable if delivery.pk not in over], ended


def _supersede(delivery_ids: Sequence[int], endpoint: ClientEndpoint, now: datetime, *, using: str) -> int:
    ended = cancel(delivery_ids, DeliveryReason.SUPERSEDED, now, using=using, skip_locked=True)
    if ended and endpoint.only_changes:
        # A resend is sent in any case. So the update that supersedes it must not be left out as unchanged.
        asked = Q(redelivered=True) | Q(push__trigger=PushTrigger.RESEND)
        resent = Delivery.objects.using(using).filter(asked, pk__in=delivery_ids, reason=DeliveryReason.SUPERSEDED)
        profile_ids = [pk for pk in resent.values_list("profile_id", flat=True) if pk is not None]
        contents.forget_accepted(endpoint.pk, profile_ids, using=using)
    return ended


def _candidates(
    request: ClaimRequest,
    endpoint: ClientEndpoint,
    room: int,
    priorities: Sequence[int],
    now: datetime,
    *,
    using: str,
) -> list[Candidate]:
    """Return due deliveries of these priorities that do not have to wait for an older one of their pair."""
    candidates: list[Candidate] = []
    # With latest_only, fetch more than there is room for, because newer deliveries will supersede some of them.
    wanted = room * 2 if endpoint.ordering == Ordering.LATEST_ONLY else room
    values: dict[str, Any] = {"endpoint": endpoint.pk, "now": dialect.adapt_moment(now, using=using)}
    due = sql.fill(
        sql.DUE,
        using=using,
        wanted=due_work.wanted_condition(values, request, using=using),
        holds_back=sql.HOLDS_BACK[endpoint.ordering],
        row_locks=dialect.row_locks(using, of="d"),
    )
    for priority in priorities:
        if len(candidates) < wanted:
            with connections[using].cursor() as cursor:
                cursor.execute(due, {**values, "priority": priority, "limit": wanted - len(candidates)})
                rows = cursor.fetchall()
            candidates += [Candidate(pk, profile_id, dialect.read_moment(since)) for pk, profile_id, since in rows]
    return candidates


def _pairs(
    profile_ids: Collection[int], endpoint: ClientEndpoint, now: datetime, *, using: str
) -> Iterable[tuple[list[Waiting], int]]:
    pairs: dict[int, list[Waiting]] = defaultdict(list)
    confirmed_by_profile: dict[int, int] = {}
    values: dict[str, Any] = {"endpoint": endpoint.pk, "now": dialect.adapt_moment(now, using=using)}
    profiles = dialect.any_of(values, "d.profile_id", profile_ids, using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(sql.fill(sql.LIVE, using=using, profiles=profiles), values)
        rows = cursor.fetchall()
    for profile_id, pk, position, sequence, status, due, run_attempts, accepted in rows:
        sending = status == DeliveryStatus.SENDING
        pairs[profile_id].append(Waiting(pk, position, sequence is not None, sending, bool(due), run_attempts))
        confirmed_by_profile[profile_id] = accepted or 0
    return [(pair, confirmed_by_profile[profile_id]) for profile_id, pair in pairs.items()]


def _give_up(delivery_ids: Collection[int], now: datetime, *, using: str) -> int:
    if not delivery_ids:
        return 0
    announce.announce_failed_after_commit(pk__in=delivery_ids, using=using)
    return transitions.give_up(Delivery.objects.using(using).filter(pk__in=delivery_ids), now)


def cancel(
    delivery_ids: Collection[int], reason: DeliveryReason, now: datetime, *, using: str, skip_locked: bool = False
) -> int:
    """Cancel the pending ones among these deliveries, and return their number.

    ``skip_locked`` leaves out the deliveries that another transaction has locked.
    """
    deliveries = Delivery.objects.using(using)
    if skip_locked and delivery_ids:
        delivery_ids = lock_free(deliveries.filter(status=DeliveryStatus.PENDING), delivery_ids)
    return transitions.cancel(deliveries.filter(pk__in=delivery_ids), reason, now) if delivery_ids else 0


def _compare_and_set(
    request: ClaimRequest, endpoint: ClientEndpoint, delivery_ids: Sequence[int], now: datetime, *, using: str
) -> list[ClaimedDelivery]:
    if not delivery_ids:
        return []
    token = uuid.uuid4()
    values: dict[str, Any] = {
        "token": dialect.token(token, using=using),
        "leased_until": dialect.adapt_moment(now + lease_times.claim_time(), using=using),
        "worker": request.name,
    }
    delivery, run_started_at = sql.tables(using)["delivery"], dialect.select_moment("d.run_started_at", using=using)
    ids = dialect.any_of(values, "id", delivery_ids, using=using)
    update = f"{transitions.claim(delivery)} AND {ids}"
    with connections[using].cursor() as cursor:
        if dialect.returns_updated_rows(using):
            claimed = sql.fill(sql.CLAIMED, using=using, claimed="claimed", run_started_at=run_started_at)
            cursor.execute(f"WITH claimed AS ({update} RETURNING *) {claimed}", values)
        else:
            cursor.execute(update, values)
            ours = f"{dialect.any_of(values, 'd.id', delivery_ids, using=using)} AND d.lease_token = %(token)s"
            claimed = sql.fill(sql.CLAIMED, using=using, claimed=delivery, run_started_at=run_started_at)
            cursor.execute(f"{claimed} WHERE {ours}", values)
        rows = cursor.fetchall()
    mine = {row[0]: _read_claimed(row, endpoint, token) for row in rows}
    return [mine[pk] for pk in delivery_ids if pk in mine]


def _read_claimed(row: Sequence[Any], endpoint: ClientEndpoint, token: uuid.UUID) -> ClaimedDelivery:
    pk, profile_id, position, attempts_made, run_attempts, run_started_at, redelivered, *push = row
    push_id, event_id, push_profile_id, sequence, payload, digest, error = push
    return ClaimedDelivery(
        pk=pk,
        endpoint_id=endpoint.pk,
        profile_id=profile_id,
        position=position,
        attempts_made=attempts_made,
        run_attempts=run_attempts,
        run_started_at=dialect.read_moment(run_started_at),
        redelivered=bool(redelivered),
        lease_token=token,
        endpoint=endpoint,
        push=ClaimedPush(
            push_id,
            dialect.read_uuid(event_id),
            push_profile_id,
            sequence,
            _PAYLOAD.from_db_value(payload),
            digest,
            _ERROR.from_db_value(error) or "",
        ),
    )
