"""Settle outcomes: write attempt, delivery, confirmation and the endpoint's health, in one transaction for each batch.

Locks are taken in the order in which all code takes them: profile, endpoint health, delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, connections

from live_push.contract import reply
from live_push.models import Attempt, DeliveryReason, EndpointHealth
from live_push.models.transactions import in_transaction, is_locked
from live_push.outbox import allowance, transitions, uncertain
from live_push.outbox.claim import cancel_superseded
from live_push.rules import breaker, failing, retry
from live_push.rules.messages import Message
from live_push.rules.result import ErrorCode

from . import announce, capture, contents, dialect, hours, settlement_rows, sql
from .health_rows import note_success
from .outcome import Outcome
from .verdict import NewAttempt, Verdict, attempt_trigger

logger = logging.getLogger("live_push.delivery")

STATUS_GONE: Final = 410

_ANSWER: Any = Attempt._meta.get_field("answer")
_DETAIL: Any = Attempt._meta.get_field("detail")


@dataclass
class Settlement:
    """The verdicts that were written, and the endpoints to which nothing may be sent for now."""

    verdicts: list[Verdict] = field(default_factory=list)
    resting: set[int] = field(default_factory=set)
    unwell: set[int] = field(default_factory=set)
    """The endpoints that are failing, or that have recovered: there may be something to announce."""
    disabled: set[int] = field(default_factory=set)
    """The endpoints that answered 410 Gone, so they were disabled."""
    done: list[Outcome] = field(default_factory=list)
    """The outcomes that must not be settled again: they were written or refused."""
    postponed: list[Outcome] = field(default_factory=list)
    """The outcomes that could not be written, because another transaction has locked a row that they need."""

    def add(self, other: Settlement) -> None:
        """Add what another transaction wrote."""
        self.verdicts += other.verdicts
        self.resting |= other.resting
        self.unwell |= other.unwell
        self.disabled |= other.disabled
        self.done += other.done
        self.postponed += other.postponed


def settle(
    outcomes: Sequence[Outcome],
    *,
    using: str,
    random: Callable[[], float],
    worker: str = "",
    drained: Collection[int] = (),
) -> Settlement:
    """Settle the outcomes of attempts.

    An outcome is refused if its lease was lost: another worker may have the delivery, or the member was deleted.
    Settling does not wait for locks: if another transaction has locked a row that an outcome needs, the outcome is
    postponed, and the caller settles it again later. ``random`` returns a random number, uniform in [0, 1), for the
    jitter of retries. ``drained`` are endpoints for which ``worker`` has no more deliveries: its slots there are given
    back.
    """
    write = partial(_settle, using=using, random=random, worker=worker, drained=drained)
    settlement = Settlement()
    for batch in batches(outcomes):
        written = _written(batch, write, using=using)
        settlement.add(written)
        # Announce each batch at once: if the next one fails, this one is settled and won't be settled again.
        announce.announce(written.verdicts, unwell=written.unwell, disabled=written.disabled, using=using)
    return settlement


def batches(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Split outcomes into batches, one for each transaction.

    Outcomes that store no third-party id share a batch, and each of the others gets its own. So neither a conflict of
    ids nor a lock on a profile affects another outcome.
    """
    storing: list[Outcome] = []
    others: list[Outcome] = []
    for outcome in outcomes:
        (storing if capture.has_id(outcome) else others).append(outcome)
    return ([others] if others else []) + [[outcome] for outcome in storing]


def _written(batch: Sequence[Outcome], write: Callable[[Sequence[Outcome]], Settlement], *, using: str) -> Settlement:
    try:
        return in_transaction(partial(write, batch), using=using)
    except DatabaseError as error:
        if not is_locked(error):
            raise
    if len(batch) == 1:
        return Settlement(postponed=[*batch])
    # The database does not say which row is locked, so settle the outcomes one by one.
    settlement = Settlement()
    for outcome in batch:
        settlement.add(_written([outcome], write, using=using))
    return settlement


def _settle(
    batch: Sequence[Outcome], *, using: str, random: Callable[[], float], worker: str, drained: Collection[int]
) -> Settlement:
    # By object: a batch may hold two outcomes of one delivery, if this worker has claimed it again.
    replies = {id(outcome): capture.read_reply(outcome) for outcome in batch if capture.is_wanted(outcome)}
    gone_ids = {outcome.delivery.endpoint_id for outcome in batch if outcome.result.status_code == STATUS_GONE}
    profile_ids = _profiles_that_get_an_id(batch, replies)
    rows = settlement_rows.lock(batch, profile_ids, gone_ids, drained=drained, using=using)
    healths, now = rows.healths.by_id, rows.healths.now
    verdicts = []
    late = []
    done = [outcome for outcome in batch if rows.are_free_for(outcome)]
    for outcome in done:
        delivery = outcome.delivery
        if not _is_mine(outcome, rows.tokens.get(delivery.pk)):
            logger.warning("A late verdict on delivery %s was refused.", delivery.pk)
            if outcome.result.request_written:
                late.append(uncertain.Sent.by(delivery, is_pruned=delivery.pk not in rows.tokens))
            continue
        answer = replies.get(id(outcome))
        verdict = _judge(outcome, answer, now, random)
        if answer is not None and verdict.decision.status == "succeeded":
            profile = rows.profiles.get(delivery.profile_id or 0)
            capture.store(verdict.attempt, answer, profile, delivery, using=using)
        if (health := healths.get(outcome.delivery.endpoint_id)) is not None:
            _note_health(health, verdict, now)
        verdicts.append(verdict)
    for pk in drained:
        if pk in healths:
            allowance.release_slots(healths[pk], worker)
    rows.healths.write()
    gone = {verdict.outcome.delivery.endpoint_id for verdict in verdicts if verdict.decision.reason == "gone"}
    disabled = {pk for pk in gone if announce.switch_off(pk, announce.GONE, using=using)}
    _write(verdicts, now, using=using)
    uncertain.mark(late, now, using=using)
    _cancel_superseded(verdicts, now, using=using)
    resting = {pk for pk, health in healths.items() if breaker.may_try(health.breaker, now) != "go"}
    unwell = {pk for pk, health in healths.items() if health.failing_since or health.failing_noticed_at}
    postponed = [outcome for outcome in batch if not rows.are_free_for(outcome)]
    return Settlement(verdicts, resting, unwell, disabled, done, postponed)


def _profiles_that_get_an_id(batch: Sequence[Outcome], replies: Mapping[int, reply.Reply]) -> set[int]:
    with_id = {key for key, answer in replies.items() if answer.third_party_id is not None}
    profile_ids = {outcome.delivery.profile_id for outcome in batch if id(outcome) in with_id}
    return {pk for pk in profile_ids if pk is not None}


def _is_mine(outcome: Outcome, token: UUID | None) -> bool:
    # A worker that was too slow may have claimed the same delivery again, and then settles both outcomes. Only the one
    # with the current lease token counts. While the token is the same, the rest of the row is as it was at the start.
    return token is not None and token == outcome.delivery.lease_token


def _judge(outcome: Outcome, answer: reply.Reply | None, now: datetime, random: Callable[[], float]) -> Verdict:
    result, endpoint, delivery = outcome.result, outcome.endpoint, outcome.delivery
    decision = retry.decide(
        result,
        attempts_in_run=delivery.run_attempts,
        run_seconds=(now - (delivery.run_started_at or now)).total_seconds(),
        policy=endpoint.policy,
        random=random,
        capture_failed=answer is not None and answer.third_party_id is None,
        now=now,
    )
    reason: str = decision.reason
    if decision.error_code == ErrorCode.PAYLOAD_FAILED:
        # A retry would fail again, because the snapshot stays the same.
        decision, reason = replace(decision, status="failed", wait_seconds=None), DeliveryReason.PAYLOAD.value
    attempt = NewAttempt(
        delivery_id=delivery.pk,
        number=delivery.attempts_made,
        trigger=attempt_trigger(delivery).value,
        started_at=delivery.dialled_at or now,
        duration_ms=result.duration_ms,
        status_code=result.status_code,
        error_code=str(decision.error_code),
        detail=_detail(outcome, answer, decision),
        answer=outcome.answer,
        body_digest=outcome.body_digest,
    )
    return Verdict(outcome, decision, attempt, reason)


def _detail(outcome: Outcome, answer: reply.Reply | None, decision: retry.Decision) -> str:
    if decision.error_code == ErrorCode.ID_MISSING and answer is not None:
        return answer.sentence
    if decision.error_code == ErrorCode.TOO_LARGE and outcome.body_bytes:
        return Message("body_too_large", size=f"{outcome.body_bytes:,}")
    return outcome.result.detail


def _note_health(health: EndpointHealth, verdict: Verdict, now: datetime) -> None:
    decision = verdict.decision
    if decision.status == "succeeded":
        note_success(health, now)
        return
    if decision.error_code != ErrorCode.PAYLOAD_FAILED:
        # A payload that could not be built was not sent, so it does not count as a failure of the endpoint.
        longest_wait = verdict.outcome.endpoint.policy.longest_wait
        health.failing = failing.after_failure(health.failing, now, longest_wait)
    if decision.endpoint_at_fault:
        health.breaker = breaker.after_failure(health.breaker, now)
    else:
        health.breaker = breaker.after_neutral_failure(health.breaker, now)
    if decision.rest_seconds is not None:
        health.breaker = breaker.rest_asked(health.breaker, now, decision.rest_seconds)


def _write(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> None:
    """Store the attempts and what follows from them. If all were accepted, PostgreSQL makes one trip for it."""
    if not verdicts:
        return
    accepted = [verdict for verdict in verdicts if verdict.decision.status == "succeeded"]
    for verdict in verdicts:
        if verdict.decision.status != "succeeded":
            _write_failure(verdict, now, using=using)
    statements = [*_attempts(verdicts, using=using), *hours.count_attempts(verdicts, now, using=using)]
    started_at: dict[uncertain.Pair, datetime] = {}
    if accepted:
        statements += [*_succeeded(accepted, now, using=using), *_confirmations(accepted, now, using=using)]
        started_at = {
            (verdict.outcome.delivery.endpoint_id, verdict.outcome.delivery.profile_id or 0): verdict.attempt.started_at
            for verdict in accepted
        }
    marked = uncertain.marked({profile_id for _, profile_id in started_at}, using=using)
    uncertain.clear(dialect.execute_together([*statements, marked], using=using), started_at, using=using)


def _write_failure(verdict: Verdict, now: datetime, *, using: str) -> None:
    delivery = sql.tables(using)["delivery"]
    values: dict[str, Any] = {
        "id": verdict.outcome.delivery.pk,
        "error_code": str(verdict.decision.error_code),
        "status_code": verdict.outcome.result.status_code,
    }
    if verdict.decision.wait_seconds is None:
        statement = transitions.fail(delivery)
        values |= {"reason": verdict.reason, "now": dialect.adapt_moment(now, using=using)}
    else:
        statement = transitions.retry(delivery)
        next_attempt_at = now + timedelta(seconds=verdict.decision.wait_seconds)
        values["next_attempt_at"] = dialect.adapt_moment(next_attempt_at, using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(statement, values)


def _attempts(verdicts: Sequence[Verdict], *, using: str) -> list[dialect.Statement]:
    rows = [
        (
            attempt.delivery_id,
            attempt.number,
            attempt.trigger,
            dialect.adapt_moment(attempt.started_at, using=using),
            attempt.duration_ms,
            attempt.status_code,
            attempt.error_code,
            _DETAIL.get_prep_value(attempt.detail),
            None if attempt.answer is None else _ANSWER.stored(attempt.answer),
            attempt.body_digest,
            attempt.captured_id,
            attempt.replaced_id,
            attempt.capture_conflict,
        )
        for attempt in (verdict.attempt for verdict in verdicts)
    ]
    return dialect.inserts(sql.tables(using)["attempt"], sql.ATTEMPTS, rows, name="attempt", using=using)


def _succeeded(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> Iterator[dialect.Statement]:
    by_code: dict[int | None, list[int]] = {}
    for verdict in verdicts:
        by_code.setdefault(verdict.outcome.result.status_code, []).append(verdict.outcome.delivery.pk)
    delivery = sql.tables(using)["delivery"]
    for code, ids in by_code.items():
        # These deliveries differ in their ids only, so one statement writes them all.
        values: dict[str, Any] = {"ended_at": dialect.adapt_moment(now, using=using)}
        update = transitions.succeed(delivery, status_code=str(code), now="%(ended_at)s")
        condition = dialect.any_of(values, "id", ids, using=using, name=f"accepted_{code}")
        yield dialect.Statement(f"{update} WHERE {condition}", values)


def _confirmations(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> list[dialect.Statement]:
    confirmed_at = dialect.adapt_moment(now, using=using)
    rows: list[tuple[Any, ...]] = [
        (
            verdict.outcome.delivery.endpoint_id,
            verdict.outcome.delivery.profile_id or 0,
            verdict.outcome.delivery.position,
            confirmed_at,
            contents.confirmed_digest(verdict.outcome.delivery, verdict.outcome.endpoint),
        )
        for verdict in verdicts
    ]
    columns: Mapping[str, str] = sql.CONFIRMATIONS
    if any(verdict.outcome.endpoint.only_changes for verdict in verdicts):
        columns, digests = (
            sql.CONTENTS,
            (contents.compared_digest(item.outcome.delivery, item.outcome.endpoint) for item in verdicts),
        )
        rows = [(*row, digest) for row, digest in zip(rows, digests, strict=True)]
    unique = ["endpoint_id", "profile_id"]
    table = sql.tables(using)["confirmation"]
    newer = dialect.upsert(
        unique, {column: "{new}" for column in columns if column not in unique}, table=table, using=using
    )
    return dialect.inserts(table, columns, rows, name="confirmation", using=using, conflict=newer)


def _cancel_superseded(verdicts: Sequence[Verdict], now: datetime, *, using: str) -> None:
    """Cancel deliveries that would be retried but are superseded. Claims do not do this while the endpoint rests."""
    tried_again: dict[int, set[int]] = {}
    endpoints = {}
    for verdict in verdicts:
        delivery, endpoint = verdict.outcome.delivery, verdict.outcome.endpoint
        if verdict.decision.wait_seconds is not None and delivery.profile_id is not None:
            endpoints[endpoint.pk] = endpoint
            tried_again.setdefault(endpoint.pk, set()).add(delivery.profile_id)
    for pk, profile_ids in tried_again.items():
        cancel_superseded(profile_ids, endpoints[pk], now, using=using)
