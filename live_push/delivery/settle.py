"""What came back is written down: attempt, verdict, confirmation and the endpoint's health, together or not at all.

Lock order, here as everywhere: profile, endpoint health, delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import transaction

from live_push.contract import payload, reply
from live_push.models import (
    Attempt,
    Confirmation,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    EndpointHealth,
    Priority,
)
from live_push.models.clock import db_now
from live_push.models.locking import locked
from live_push.outbox import allowance
from live_push.outbox.claim import give_way
from live_push.outbox.compiled import IDS, MOMENT, STATUS_CODE, Compiled, M, instance
from live_push.outbox.compiled_insert import CompiledInsert
from live_push.outbox.leases import attempt_trigger

from . import breaker, capture, notices, retry, statistics
from .deliver import Outcome, secrets_of
from .redaction import CUT, clean_bytes
from .result import ErrorCode

logger = logging.getLogger("live_push.delivery")

ANSWER_KEPT_BYTES = 8 * 1024
FIELDS_OF_A_VERDICT = (
    "status",
    "reason",
    "priority",
    "next_attempt_at",
    "lease_token",
    "leased_until",
    "dialled_at",
    "last_error_code",
    "last_status_code",
    "ended_at",
    "stalls",
)


@dataclass(frozen=True)
class Verdict:
    """One outcome judged, with the rows it becomes."""

    outcome: Outcome
    decision: retry.Decision
    attempt: Attempt


@dataclass
class Settlement:
    """What was written, and which endpoints are to be left alone for now."""

    verdicts: list[Verdict] = field(default_factory=list)
    resting: set[int] = field(default_factory=set)
    unwell: set[int] = field(default_factory=set)
    """Those that fail, or did until a moment ago: there may be something to tell."""


def settle(
    outcomes: Sequence[Outcome],
    *,
    using: str,
    dice: Callable[[], float],
    worker: str = "",
    finished_with: Collection[int] = (),
) -> Settlement:
    """Write down what attempts brought back.

    A verdict whose lease was lost meanwhile is refused: somebody else has the delivery, or its member is gone.
    Outcomes that capture an id are settled one by one, so that one conflict harms no other; the rest together.
    ``finished_with`` are endpoints that ``worker`` has nothing left for: its places on the wire there are given back.
    """
    capturing = [outcome for outcome in outcomes if capture.is_wanted(outcome)]
    others = [outcome for outcome in outcomes if not capture.is_wanted(outcome)]
    settlement = Settlement()
    for batch in ([others] if others else []) + [[outcome] for outcome in capturing]:
        with transaction.atomic(using=using):
            some = _settle(batch, using=using, dice=dice, worker=worker, finished_with=finished_with)
        settlement.verdicts += some.verdicts
        settlement.resting |= some.resting
        # At once: should the next batch fail, this one is settled and won't come again.
        notices.announce(some.verdicts, some.unwell, using=using)
    return settlement


def _settle(
    batch: Sequence[Outcome], *, using: str, dice: Callable[[], float], worker: str, finished_with: Collection[int]
) -> Settlement:
    replies = {outcome.prepared.delivery.pk: capture.read(outcome) for outcome in batch if capture.is_wanted(outcome)}
    profiles = capture.lock_profiles(batch, using=using) if replies else {}
    endpoint_ids = {outcome.prepared.endpoint.pk for outcome in batch}
    healths = _locked(EndpointHealth, endpoint_ids, using=using)
    rows = _locked(Delivery, {outcome.prepared.delivery.pk for outcome in batch}, using=using)
    now = db_now(using)
    verdicts = []
    for outcome in batch:
        delivery = rows.get(outcome.prepared.delivery.pk)
        if delivery is None or not _is_mine(outcome, delivery):
            logger.warning("A late verdict on delivery %s was refused.", outcome.prepared.delivery.pk)
            continue
        answer = replies.get(delivery.pk)
        verdict = _judge(outcome, delivery, answer, now, dice)
        if answer is not None and verdict.decision.status == "succeeded":
            capture.store(verdict.attempt, answer, profiles.get(delivery.profile_id), delivery, using=using)
        health = healths.get(delivery.endpoint_id)
        if health is not None:
            _note_health(health, verdict.decision, now)
        verdicts.append(verdict)
    for pk in finished_with:
        if pk in healths:
            allowance.release_slots(healths[pk], worker)
    for health in healths.values():
        health.save(using=using)
    _write(verdicts, now, using=using)
    _give_way(verdicts, now, using=using)
    statistics.note(verdicts, now, using=using)
    resting = {pk for pk, health in healths.items() if breaker.may_try(health.breaker, now) != "go"}
    unwell = {pk for pk, health in healths.items() if health.failing_since or health.failing_noticed_at}
    return Settlement(verdicts, resting, unwell)


def _locked(model: type[M], ids: set[int], *, using: str) -> dict[int, M]:
    return {row[0]: instance(model, row, using=using) for row in _lock(model, using).fetch(ids)}


@lru_cache(maxsize=16)
def _lock(model: type[M], using: str) -> Compiled:
    return Compiled(locked(model._base_manager.using(using).filter(pk__in=IDS)).order_by("pk"), IDS, using=using)


def _is_mine(outcome: Outcome, delivery: Delivery) -> bool:
    # A worker that overslept its lease may have claimed the same delivery again, and bring both answers at once.
    return delivery.lease_token is not None and delivery.lease_token == outcome.prepared.delivery.lease_token


def _judge(
    outcome: Outcome, delivery: Delivery, answer: reply.Reply | None, now: datetime, dice: Callable[[], float]
) -> Verdict:
    result, endpoint = outcome.result, outcome.prepared.endpoint
    decision = retry.decide(
        result,
        attempts_in_run=delivery.run_attempts,
        run_seconds=(now - (delivery.run_started_at or now)).total_seconds(),
        policy=endpoint.policy,
        dice=dice,
        capture_failed=answer is not None and answer.third_party_id is None,
        now=now,
    )
    if decision.error_code == ErrorCode.PAYLOAD_FAILED:
        # No retry can mend it: the snapshot is what it is.
        decision = replace(decision, status="failed", wait_seconds=None)
    attempt = Attempt(
        delivery=delivery,
        number=delivery.attempts_made,
        trigger=attempt_trigger(delivery),
        started_at=delivery.dialled_at or now,
        duration_ms=result.duration_ms,
        status_code=result.status_code,
        error_code=decision.error_code,
        detail=_detail(outcome, answer, decision),
        answer=_kept_answer(outcome),
        body_digest=outcome.prepared.body_digest,
    )
    _apply(delivery, decision, result.status_code, now)
    return Verdict(outcome, decision, attempt)


def _apply(delivery: Delivery, decision: retry.Decision, status_code: int | None, now: datetime) -> None:
    reason = decision.reason
    if decision.error_code == ErrorCode.PAYLOAD_FAILED:
        reason = DeliveryReason.PAYLOAD.value  # type: ignore[assignment]
    delivery.status = decision.status
    delivery.reason = reason
    delivery.lease_token = delivery.leased_until = delivery.dialled_at = None
    delivery.last_error_code = str(decision.error_code)
    delivery.last_status_code = status_code
    if decision.wait_seconds is None:
        delivery.next_attempt_at, delivery.ended_at = None, now
    else:
        delivery.next_attempt_at = now + timedelta(seconds=decision.wait_seconds)
        delivery.priority = Priority.RETRY
        # Whoever comes back with a verdict kills nobody, and need not go alone any more.
        delivery.stalls = 0


def _detail(outcome: Outcome, answer: reply.Reply | None, decision: retry.Decision) -> str:
    if decision.error_code == ErrorCode.ID_MISSING and answer is not None:
        return answer.sentence
    if decision.error_code == ErrorCode.TOO_LARGE and outcome.prepared.request is not None:
        return f"The body of {len(outcome.prepared.request.body):,} bytes is too large for the client."
    return outcome.result.detail


def _kept_answer(outcome: Outcome) -> bytes | None:
    if outcome.result.status_code is None:
        return None
    # From the request, because the stored secret may be another by now, or unreadable.
    request = outcome.prepared.request
    secrets = secrets_of(request) if request else ()
    # A connection that was lost cuts too, however short the answer is until then.
    cut = b"" if outcome.result.body_complete or not outcome.result.body else CUT.encode()
    kept = clean_bytes(outcome.result.body, limit=ANSWER_KEPT_BYTES - len(cut), secrets=secrets)
    return kept if kept.endswith(cut) else kept + cut


def _note_health(health: EndpointHealth, decision: retry.Decision, now: datetime) -> None:
    if decision.status == "succeeded":
        health.breaker = breaker.after_success(health.breaker)
        health.last_success_at, health.failing_since = now, None
        return
    if decision.error_code != ErrorCode.PAYLOAD_FAILED:
        # Nothing went out for that one: it says nothing of the endpoint.
        health.last_failure_at = now
        health.failing_since = health.failing_since or now
    if decision.endpoint_at_fault:
        health.breaker = breaker.after_failure(health.breaker, now)
    else:
        health.breaker = breaker.after_neutral_failure(health.breaker, now)
    if decision.rest_seconds is not None:
        health.breaker = breaker.rest_asked(health.breaker, now, decision.rest_seconds)


def _write(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> None:
    if not verdicts:
        return
    _attempts(using).run([verdict.attempt for verdict in verdicts])
    accepted: dict[int | None, list[Delivery]] = {}
    others: list[Delivery] = []
    for verdict in verdicts:
        delivery = verdict.attempt.delivery
        if verdict.decision.status == "succeeded":
            accepted.setdefault(delivery.last_status_code, []).append(delivery)
        else:
            others.append(delivery)
    for status_code, some in accepted.items():
        # Alike but for their ids: one statement, however many there are.
        _accept(using).run([delivery.pk for delivery in some], status_code, now)
    if others:
        Delivery.objects.using(using).bulk_update(others, FIELDS_OF_A_VERDICT)
    _confirm([verdict for verdict in verdicts if verdict.decision.status == "succeeded"], now, using=using)


@lru_cache(maxsize=8)
def _accept(using: str) -> Compiled:
    written = {
        **dict.fromkeys(("next_attempt_at", "lease_token", "leased_until", "dialled_at")),
        **dict.fromkeys(("reason", "last_error_code"), ""),
        "status": DeliveryStatus.SUCCEEDED.value,
        "last_status_code": STATUS_CODE,
        "ended_at": MOMENT,
    }
    return Compiled(Delivery.objects.filter(pk__in=IDS), IDS, STATUS_CODE, MOMENT, using=using, written=written)


def _confirm(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> None:
    confirmations = [
        Confirmation(
            endpoint_id=verdict.attempt.delivery.endpoint_id,
            profile_id=verdict.attempt.delivery.profile_id or 0,
            sequence=verdict.outcome.prepared.delivery.position,
            confirmed_at=now,
            digest=_digest(verdict.outcome),
        )
        for verdict in verdicts
    ]
    _confirmations(using).run(confirmations)


def _give_way(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> None:
    """What is to be tried again gives way where a newer state waits, also while the endpoint rests."""
    tried_again: dict[int, set[int]] = {}
    endpoints = {}
    for verdict in verdicts:
        delivery, endpoint = verdict.attempt.delivery, verdict.outcome.prepared.endpoint
        if verdict.decision.wait_seconds is not None and delivery.profile_id is not None:
            endpoints[endpoint.pk] = endpoint
            tried_again.setdefault(endpoint.pk, set()).add(delivery.profile_id)
    for pk, profile_ids in tried_again.items():
        give_way(profile_ids, endpoints[pk], now, using=using)


@lru_cache(maxsize=8)
def _attempts(using: str) -> CompiledInsert:
    return CompiledInsert(Attempt, using=using)


@lru_cache(maxsize=8)
def _confirmations(using: str) -> CompiledInsert:
    return CompiledInsert(Confirmation, using=using, unique=["endpoint", "profile"])


def _digest(outcome: Outcome) -> str:
    push = outcome.prepared.delivery.push
    if outcome.prepared.endpoint.capture_third_party_id and push.payload is not None:
        return payload.digest(payload.load(push.payload), ignore_third_party_id=True)
    return push.digest
