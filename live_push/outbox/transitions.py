"""All changes of a delivery's state, one function for each. No other module writes the columns of the state.

These functions are called verbs. Each verb is a compare-and-set: its condition names the state from which it starts. If
two workers try the same change, one of them writes, and the other finds no row. ``docs/lifecycle.md`` shows the verbs
as a diagram. A test compares the diagram with this module.

============  ===========================================================
``pending``   waits for its next attempt; ``next_attempt_at`` says when
``sending``   claimed by a worker, under a lease with a token; ``dialled_at`` is set once the attempt has started
``succeeded``, ``failed``, ``cancelled``
              ended; ``reason`` says why, ``ended_at`` when
============  ===========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from django.db.models import Case, F, OuterRef, QuerySet, Subquery, When

from live_push.models import Delivery, DeliveryReason, DeliveryStatus, Priority, Push
from live_push.models.clock import DbNow
from live_push.models.deliveries import END_OF_LINE
from live_push.rules.result import ErrorCode

NEW: Final = "new"
PENDING: Final = DeliveryStatus.PENDING
SENDING: Final = DeliveryStatus.SENDING
SUCCEEDED: Final = DeliveryStatus.SUCCEEDED
FAILED: Final = DeliveryStatus.FAILED
CANCELLED: Final = DeliveryStatus.CANCELLED

STATE_COLUMNS: Final = frozenset(
    {
        "status",
        "reason",
        "position",
        "priority",
        "next_attempt_at",
        "claims_made",
        "claimed_by",
        "attempts_made",
        "run_attempts",
        "run_started_at",
        "redelivered",
        "stalls",
        "lease_token",
        "leased_until",
        "dialled_at",
        "last_error_code",
        "last_status_code",
        "ended_at",
    }
)
"""The columns of a delivery that only this module writes."""

_NEW_RUN: Final[dict[str, Any]] = {"run_attempts": 0, "run_started_at": None, "stalls": 0}
_NO_LEASE: Final[dict[str, Any]] = {"lease_token": None, "leased_until": None, "dialled_at": None}


class Transition(NamedTuple):
    """One arrow of the diagram: the verb leads from one state to another, or changes a delivery within its state."""

    source: str
    target: str
    verb: str


TRANSITIONS: Final[set[Transition]] = set()
"""All arrows of the diagram."""

_Verb = TypeVar("_Verb", bound=Callable[..., Any])


def _leads(*sources: str, to: str | Iterable[str] = "") -> Callable[[_Verb], _Verb]:
    """Register the arrows of a verb. Without ``to`` the verb leaves a delivery in its state."""

    def register(verb: _Verb) -> _Verb:
        for source in sources:
            targets = [to or source] if isinstance(to, str) else to
            TRANSITIONS.update(Transition(str(source), str(target), verb.__name__) for target in targets)
        return verb

    return register


# Recording


@_leads(NEW, to=(PENDING, FAILED))
def record(pushes: str, endpoint: str, *, due: str, condition: str, only: str, audience: str, delivery: str) -> str:
    """Return the INSERT that makes one delivery for each push and active endpoint whose ``audience`` holds the member.

    The deliveries of a push whose payload could not be built are inserted as failed. The arguments are quoted table
    names and conditions. The statement's parameters are the priority, those of ``due``, the value of ``redelivered``,
    and those of ``condition`` and ``only``.
    """
    return f"""
INSERT INTO {delivery} (push_id, endpoint_id, profile_id, position, status, reason, priority, next_attempt_at,
                        claims_made, attempts_made, run_attempts, redelivered, stalls, last_error_code,
                        created_at, ended_at)
SELECT {pushes}.id, e.id, profile_id, COALESCE(sequence, {END_OF_LINE}),
       CASE WHEN error = '' THEN '{PENDING.value}' ELSE '{FAILED.value}' END,
       CASE WHEN error = '' THEN '' ELSE '{DeliveryReason.PAYLOAD.value}' END,
       %s, CASE WHEN error = '' THEN {due} END,
       0, 0, 0, %s, 0, CASE WHEN error = '' THEN '' ELSE '{ErrorCode.PAYLOAD_FAILED.value}' END,
       {pushes}.created_at, CASE WHEN error <> '' THEN {pushes}.created_at END
FROM {pushes} CROSS JOIN {endpoint} e
WHERE {condition} AND e.is_active{only} AND {audience}
"""  # noqa: S608  (quoted names and constants)


@_leads(PENDING)
@_leads(SENDING)
def take_place(deliveries: QuerySet[Delivery], sequence: int) -> int:
    """Set the position of a resend's deliveries, once the push has drawn its sequence."""
    return deliveries.filter(status__in=[PENDING, SENDING]).update(position=sequence)


# A worker takes a delivery, starts its attempt, or gives it back


@_leads(PENDING, to=SENDING)
def claim(delivery: str) -> str:
    """Return the UPDATE that takes waiting deliveries. The caller adds ``AND`` and which ones.

    Its parameters are ``token``, ``leased_until`` and ``worker``.
    """
    return (
        f"UPDATE {delivery} SET status = '{SENDING.value}', lease_token = %(token)s, "  # noqa: S608  (our own words)
        f"leased_until = %(leased_until)s, next_attempt_at = NULL, dialled_at = NULL, claimed_by = %(worker)s, "
        f"claims_made = claims_made + 1 WHERE status = '{PENDING.value}'"
    )


@_leads(SENDING)
def start(delivery: str, *, now: str, leased_until: str) -> str:
    """Return the UPDATE, without its condition, that starts the attempts of claimed deliveries.

    The arguments are SQL. The condition must leave out deliveries that are started already. Otherwise an attempt would
    be counted twice if the statement is repeated because the database's answer was lost.
    """
    return (
        f"UPDATE {delivery} SET dialled_at = {now}, leased_until = {leased_until}, "  # noqa: S608  (our own words)
        f"attempts_made = attempts_made + 1, run_attempts = run_attempts + 1, "
        f"run_started_at = COALESCE(run_started_at, {now})"
    )


@_leads(SENDING)
def renew_lease(started: QuerySet[Delivery], until: datetime) -> int:
    """Renew the leases of deliveries whose attempts have ended but can't be settled yet."""
    return started.filter(dialled_at__isnull=False).update(leased_until=until)


@_leads(SENDING, to=PENDING)
def give_back(claimed: QuerySet[Delivery], due_at: datetime | DbNow) -> int:
    """Give back claimed deliveries that were not started."""
    return claimed.filter(dialled_at=None).update(status=PENDING, next_attempt_at=due_at, **_NO_LEASE)


@_leads(SENDING, to=CANCELLED)
def leave_out(claimed: QuerySet[Delivery], reason: DeliveryReason, now: datetime | DbNow) -> int:
    """Cancel claimed deliveries that were not started: of members outside the audience, or without anything new."""
    return claimed.filter(status=SENDING, dialled_at=None).update(
        status=CANCELLED, reason=reason, ended_at=now, **_NO_LEASE
    )


@_leads(SENDING, to=PENDING)
def undo_start(started: QuerySet[Delivery], due_at: datetime | DbNow) -> int:
    """Give back started deliveries whose requests were not sent, as if no attempt had been made."""
    return started.filter(dialled_at__isnull=False).update(
        # If this start began the run, the run is undone, too. This line comes before run_attempts, because MariaDB
        # assigns from left to right.
        run_started_at=Case(When(run_attempts__lte=1, then=None), default=F("run_started_at")),
        run_attempts=F("run_attempts") - 1,
        attempts_made=F("attempts_made") - 1,
        status=PENDING,
        next_attempt_at=due_at,
        **_NO_LEASE,
    )


# An attempt ends


# These three are written to deliveries that the settlement has locked, and whose lease it has compared.
_ENDED_ATTEMPT: Final = "lease_token = NULL, leased_until = NULL, dialled_at = NULL"


@_leads(SENDING, to=SUCCEEDED)
def succeed(delivery: str, *, status_code: str, now: str) -> str:
    """Return the UPDATE, without its condition, of deliveries that were accepted. The arguments are SQL."""
    return (
        f"UPDATE {delivery} SET {_ENDED_ATTEMPT}, status = '{SUCCEEDED.value}', "  # noqa: S608  (our own words)
        f"reason = '', next_attempt_at = NULL, last_error_code = '', last_status_code = {status_code}, ended_at = {now}"
    )


@_leads(SENDING, to=PENDING)
def retry(delivery: str) -> str:
    """Return the UPDATE of one delivery whose attempt failed and is tried again.

    Its parameters are ``next_attempt_at``, ``error_code``, ``status_code`` and ``id``. The worker survived the attempt,
    so the delivery need not be sent in isolation any more.
    """
    return (
        f"UPDATE {delivery} SET {_ENDED_ATTEMPT}, status = '{PENDING.value}', "  # noqa: S608  (our own words)
        f"reason = '', priority = {Priority.RETRY.value}, stalls = 0, next_attempt_at = %(next_attempt_at)s, "
        f"last_error_code = %(error_code)s, last_status_code = %(status_code)s WHERE id = %(id)s"
    )


@_leads(SENDING, to=FAILED)
def fail(delivery: str) -> str:
    """Return the UPDATE of one delivery whose attempt failed for good.

    Its parameters are ``reason``, ``error_code``, ``status_code``, ``now`` and ``id``.
    """
    return (
        f"UPDATE {delivery} SET {_ENDED_ATTEMPT}, status = '{FAILED.value}', "  # noqa: S608  (our own words)
        f"reason = %(reason)s, next_attempt_at = NULL, ended_at = %(now)s, "
        f"last_error_code = %(error_code)s, last_status_code = %(status_code)s WHERE id = %(id)s"
    )


@_leads(SENDING, to=PENDING)
def stall(started: QuerySet[Delivery], now: datetime, wait_seconds: float) -> int:
    """Release a started delivery of a worker that died. It is retried in isolation."""
    return _lose(started, status=PENDING, reason="", next_attempt_at=now + timedelta(seconds=wait_seconds))


@_leads(SENDING, to=FAILED)
def stall_for_good(started: QuerySet[Delivery], now: datetime, reason: DeliveryReason) -> int:
    """Fail a started delivery of a worker that died: its run is over, or too many workers died while sending it."""
    return _lose(started, status=FAILED, reason=reason, next_attempt_at=None, ended_at=now)


def _lose(started: QuerySet[Delivery], **written: Any) -> int:
    return started.filter(status=SENDING).update(
        priority=Priority.RETRY,
        stalls=F("stalls") + 1,
        last_error_code=ErrorCode.LEASE_LOST.value,
        last_status_code=None,
        **_NO_LEASE,
        **written,
    )


# A waiting delivery ends without an attempt


@_leads(PENDING, to=FAILED)
def give_up(waiting: QuerySet[Delivery], now: datetime) -> int:
    """Fail waiting deliveries whose run is over."""
    return waiting.filter(status=PENDING).update(
        status=FAILED, reason=DeliveryReason.EXHAUSTED, next_attempt_at=None, ended_at=now
    )


@_leads(PENDING, to=CANCELLED)
def cancel(waiting: QuerySet[Delivery], reason: DeliveryReason, now: datetime) -> int:
    """Cancel waiting deliveries: superseded ones, those outside the audience, those that an operator cancels."""
    return waiting.filter(status=PENDING).update(status=CANCELLED, reason=reason, next_attempt_at=None, ended_at=now)


@_leads(PENDING, SENDING, to=CANCELLED)
def erase(deliveries: QuerySet[Delivery]) -> int:
    """Cancel a deleted member's deliveries. Without the lease token, the outcome of a running attempt is refused."""
    return deliveries.filter(status__in=[PENDING, SENDING]).update(
        status=CANCELLED,
        reason=DeliveryReason.ERASED,
        next_attempt_at=None,
        lease_token=None,
        leased_until=None,
        ended_at=DbNow(),
    )


# A new run


@_leads(FAILED, CANCELLED, to=PENDING)
def reopen(ended: QuerySet[Delivery]) -> int:
    """Send ended deliveries again: a new run, due at once."""
    return ended.filter(status__in=[FAILED, CANCELLED]).update(
        status=PENDING,
        reason=DeliveryReason.NONE,
        priority=Priority.RETRY,
        next_attempt_at=DbNow(),
        ended_at=None,
        redelivered=True,
        # If the delivery ended before its push drew a sequence, its position is still END_OF_LINE.
        position=Subquery(Push.objects.filter(pk=OuterRef("push")).values("sequence")),
        **_NEW_RUN,
    )


@_leads(PENDING)
def restart(waiting: QuerySet[Delivery], now: datetime) -> int:
    """Begin a new run for waiting deliveries, due at once, because their endpoint was activated."""
    return waiting.filter(status=PENDING).update(next_attempt_at=now, **_NEW_RUN)
