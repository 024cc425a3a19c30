"""Retry policies, and what follows from the result of an attempt.

A failed attempt is retried until the schedule of its retry policy ends, for every cause, because the client may repair
its server at any time. Only the status codes 410 and 413 end a delivery at once.

A *run* is the series of attempts from the first one to the last retry. A delivery that is redelivered begins a new run.
A wait counts from the end of an attempt. The window of a policy counts from the start of the run's first attempt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from .messages import Message
from .result import ErrorCode, Result, is_2xx

MAX_RETRY_AFTER_SECONDS: Final = 6 * 3600.0
"""The longest time for which a ``Retry-After`` header is respected, in seconds."""

# The jitter is at most this share of the wait, so that short waits stay short, and at most this many seconds, so that
# waits of 12 minutes stay close to five attempts an hour. It is never negative, because the waits are minimums.
_JITTER_SHARE: Final = 0.1
_MAX_JITTER_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Policy:
    """A retry schedule.

    ``waits``
        The waits in seconds, without jitter: from the end of attempt 1 to the start of attempt 2, and so on.
    ``max_attempts``
        The maximum number of attempts of one run.
    ``then_every``
        The wait in seconds after all ``waits`` are used up; ``None`` ends the schedule there.
    ``window_seconds``
        No attempt starts at or after this time, counted from the start of the run; ``None`` for no limit.
    """

    name: str
    waits: tuple[float, ...]
    max_attempts: int
    then_every: float | None = None
    window_seconds: float | None = None

    def wait_after(self, attempts_in_run: int) -> float | None:
        """Return the wait in seconds, without jitter, after this many attempts; ``None`` if the schedule has ended."""
        if attempts_in_run >= self.max_attempts:
            return None
        if attempts_in_run <= len(self.waits):
            return self.waits[attempts_in_run - 1]
        return self.then_every

    @property
    def longest_wait(self) -> float:
        """Return the longest wait in seconds, without jitter; 0 for a policy without retries."""
        return max([*self.waits, self.then_every or 0.0])

    def is_over(self, run_seconds: float) -> bool:
        """Return whether the window has ended, this many seconds after the start of the run."""
        return self.window_seconds is not None and run_seconds >= self.window_seconds


def _from_waits(name: str, waits: Sequence[float]) -> Policy:
    return Policy(name, tuple(float(wait) for wait in waits), max_attempts=len(waits) + 1)


# The source promises retries "five times an hour for up to eight hours". Attempts that take no time start after 0 s,
# 10 s, 1 min, 10 min, 30 min and 60 min, then every 12 min. Any five consecutive waits add up to at least one hour, so
# there are at most five attempts in any hour, even if the attempts take long or jitter is added.
CROWDTWIST: Final = Policy(
    "crowdtwist",
    waits=(10.0, 50.0, 540.0, 1200.0, 1800.0),
    then_every=720.0,
    window_seconds=8 * 3600.0,
    max_attempts=40,
)
# The schedule recommended by the Standard Webhooks specification, section "Deliverability and reliability".
STANDARD_WEBHOOKS: Final = _from_waits(
    "standard_webhooks", (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
POLICIES: Final[Mapping[str, Policy]] = {CROWDTWIST.name: CROWDTWIST, STANDARD_WEBHOOKS.name: STANDARD_WEBHOOKS}
"""The built-in retry policies by name."""


def policy(name: str, extra: Mapping[str, Sequence[float]]) -> Policy:
    """Return the retry policy with this name: one of :data:`POLICIES` or of ``extra``.

    ``extra`` maps names to lists of waits in seconds, as the setting ``RETRY_POLICIES`` does. It can't redefine the
    built-in policies, because operators rely on what they promise. Raises :class:`ValueError` for an unknown name.
    """
    if name in POLICIES:
        return POLICIES[name]
    if name in extra:
        return _from_waits(name, extra[name])
    known = ", ".join([*POLICIES, *extra])
    raise ValueError(Message("retry_policy_unknown", name=repr(name), known=known))


@dataclass(frozen=True)
class Decision:
    """What follows from one attempt.

    ``status``
        The new status of the delivery.
    ``reason``
        Why the delivery failed for good; empty otherwise.
    ``error_code``
        The cause of a failed attempt, one of :class:`~live_push.rules.result.ErrorCode`; empty on success.
    ``wait_seconds``
        The wait until the delivery's next attempt; ``None`` if there is none.
    ``rest_seconds``
        The rest that the client requested by ``Retry-After``; ``None`` if it did not.
    ``endpoint_at_fault``
        Whether the failure counts for the endpoint's breaker. Other failures neither count for the breaker nor reset
        it.
    """

    status: Literal["succeeded", "pending", "failed"]
    reason: Literal["", "exhausted", "gone", "too_large"] = ""
    error_code: str = ""
    wait_seconds: float | None = None
    rest_seconds: float | None = None
    endpoint_at_fault: bool = False


# These causes affect every push to the endpoint: the network, timeouts, TLS, 5xx, 429, and a name that resolves to an
# internal address. Other 4xx, redirects and missing ids come from a working endpoint that rejects a single push. The
# remaining causes are our own.
_ENDPOINT_AT_FAULT: Final = frozenset(
    {
        ErrorCode.DNS_FAILED,
        ErrorCode.DNS_TIMEOUT,
        ErrorCode.ADDRESS_REFUSED,
        ErrorCode.CONNECT_REFUSED,
        ErrorCode.CONNECT_TIMEOUT,
        ErrorCode.CONNECT_FAILED,
        ErrorCode.TLS_EXPIRED,
        ErrorCode.TLS_WRONG_NAME,
        ErrorCode.TLS_UNKNOWN_ISSUER,
        ErrorCode.TLS_FAILED,
        ErrorCode.TIMEOUT,
        ErrorCode.RESET,
        ErrorCode.PROTOCOL_ERROR,
        ErrorCode.RATE_LIMITED,
        ErrorCode.SERVER_ERROR,
    }
)


def decide(
    result: Result,
    *,
    attempts_in_run: int,
    run_seconds: float,
    policy: Policy,
    random: Callable[[], float],
    capture_failed: bool = False,
    now: datetime | None = None,
) -> Decision:
    """Return what follows from the result of an attempt.

    ``attempts_in_run``
        The number of attempts in this run, including this one.
    ``run_seconds``
        The time from the start of the run to the end of this attempt, in seconds.
    ``random``
        A callable that returns a random number, uniform in [0, 1), for the jitter.
    ``capture_failed``
        Whether the answer lacks the third-party id that it must have. A 2xx is then a failed attempt.
    ``now``
        The current time, with a time zone. Without it, a ``Retry-After`` header with a date is ignored.

    Example: if attempt 2 of the policy ``crowdtwist`` fails with 500, the next attempt is due in 50 to 55 s.
    """
    # The value goes into the database as plain text, because some database drivers don't accept enums.
    error_code = str(error_code_of(result, capture_failed=capture_failed))
    if error_code == "":
        return Decision("succeeded")
    if error_code == ErrorCode.GONE:
        return Decision("failed", "gone", error_code)
    if error_code == ErrorCode.TOO_LARGE:
        return Decision("failed", "too_large", error_code)
    wait = _wait(policy, attempts_in_run, run_seconds, random)
    return Decision(
        "failed" if wait is None else "pending",
        "exhausted" if wait is None else "",
        error_code,
        wait_seconds=wait,
        rest_seconds=_rest(result, now),
        endpoint_at_fault=error_code in _ENDPOINT_AT_FAULT,
    )


def error_code_of(result: Result, *, capture_failed: bool = False) -> str:
    """Return why the attempt failed, one of :class:`~live_push.rules.result.ErrorCode`; empty if it succeeded."""
    match result.status_code:
        case None:
            return result.error_code
        case 410:
            return ErrorCode.GONE
        case 413:
            return ErrorCode.TOO_LARGE
        case 429:
            return ErrorCode.RATE_LIMITED
    if is_2xx(result.status_code):
        return ErrorCode.ID_MISSING if capture_failed else ""
    match result.status_code // 100:
        case 3:
            return ErrorCode.REDIRECT
        case 4:
            return ErrorCode.CLIENT_ERROR
        case 5:
            return ErrorCode.SERVER_ERROR
    return ErrorCode.ODD_STATUS


def _wait(policy: Policy, attempts_in_run: int, run_seconds: float, random: Callable[[], float]) -> float | None:
    wait = policy.wait_after(attempts_in_run)
    if wait is None or policy.is_over(run_seconds + wait):
        return None
    jittered = wait + random() * min(_JITTER_SHARE * wait, _MAX_JITTER_SECONDS)
    # Without jitter, the last attempt still starts within the window.
    return wait if policy.is_over(run_seconds + jittered) else jittered


def _rest(result: Result, now: datetime | None) -> float | None:
    if result.retry_after is None or is_2xx(result.status_code):
        return None
    # "Retry-After: 0" asks for no rest, and the log must not show one.
    return parse_retry_after(result.retry_after, now) or None


def parse_retry_after(text: str, now: datetime | None) -> float | None:
    """Return the seconds for which a ``Retry-After`` header asks (RFC 9110, section 10.2.3), at most six hours.

    The header has either seconds, with or without a fraction, or a date in one of the three formats of RFC 9110,
    section 5.6.7. A date in the past gives 0. Other text, such as a negative number, gives ``None``, and so does a date
    if ``now`` is ``None``. ``now`` has a time zone. Example: ``"120"`` gives 120.
    """
    text = text.strip()
    # float() overflows to infinity at about 309 digits. The first 300 digits already exceed six hours.
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text[:300]), MAX_RETRY_AFTER_SECONDS)
    if now is None:
        return None
    try:
        until = parsedate_to_datetime(text)
        # A date without a zone is in UTC, because HTTP dates always are.
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
