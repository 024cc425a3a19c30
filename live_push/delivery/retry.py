"""What an answer means, and when to try again.

``decide()`` turns the result of one attempt into a decision. Every failed attempt is retried, whatever its cause
(a client may mend its side within the window), until the policy's schedule ends; only 410 and 413 end a delivery at
once. A wait counts from the end of the attempt, the window from the start of the run's first attempt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from .result import ErrorCode, Result

MOST_REST_SECONDS: Final = 6 * 3600.0

# Jitter is only ever added. It is a share of the wait, so that a short wait stays short, and bounded, so that a
# schedule of twelve minutes stays close to five attempts an hour.
_JITTER_SHARE: Final = 0.1
_MOST_JITTER_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Policy:
    """A retry schedule.

    ``waits``
        Seconds from the end of attempt 1 to the start of attempt 2, and so on, without jitter.
    ``then_every``
        The wait once ``waits`` are used up; ``None`` ends the schedule there.
    ``window_seconds``
        Nothing is sent at or after this time from the first attempt of the run; ``None`` for no such limit.
    ``most_attempts``
        A bound on the attempts of one run.
    """

    name: str
    waits: tuple[float, ...]
    most_attempts: int
    then_every: float | None = None
    window_seconds: float | None = None

    def wait_after(self, attempts_in_run: int) -> float | None:
        """Seconds to wait, jitter not included, after that many attempts; ``None`` where the schedule has ended."""
        if attempts_in_run >= self.most_attempts:
            return None
        if attempts_in_run <= len(self.waits):
            return self.waits[attempts_in_run - 1]
        return self.then_every

    def is_over(self, run_seconds: float) -> bool:
        """Whether nothing may be sent any more, that many seconds after the first attempt of the run began."""
        return self.window_seconds is not None and run_seconds >= self.window_seconds


def _from_waits(name: str, waits: Sequence[float]) -> Policy:
    return Policy(name, tuple(float(wait) for wait in waits), most_attempts=len(waits) + 1)


# "Five times an hour for up to eight hours": with attempts that take no time, they start at 0, 10 s, 1, 10, 30 and
# 60 minutes, then every 12 minutes. Any five waits in a row add up to an hour or more, so no half-open hour holds more
# than five starts, however long the attempts take and however much jitter is added.
CROWDTWIST: Final = Policy(
    "crowdtwist",
    waits=(10.0, 50.0, 540.0, 1200.0, 1800.0),
    then_every=720.0,
    window_seconds=8 * 3600.0,
    most_attempts=40,
)
# The schedule that the Standard Webhooks specification recommends, under "Deliverability and reliability".
STANDARD_WEBHOOKS: Final = _from_waits(
    "standard_webhooks", (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
POLICIES: Final[Mapping[str, Policy]] = {CROWDTWIST.name: CROWDTWIST, STANDARD_WEBHOOKS.name: STANDARD_WEBHOOKS}


def policy(name: str, extra: Mapping[str, Sequence[float]]) -> Policy:
    """The policy of that name: one of :data:`POLICIES`, or one of ``extra``, lists of waits in seconds.

    Our own names can't be redefined, because they state a promise. Raises :class:`ValueError` for an unknown name.
    """
    if name in POLICIES:
        return POLICIES[name]
    if name in extra:
        return _from_waits(name, extra[name])
    known = ", ".join([*POLICIES, *extra])
    raise ValueError(f"There is no retry policy {name!r}; known are {known}. LIVE_PUSH['RETRY_POLICIES'] adds more.")


@dataclass(frozen=True)
class Decision:
    """What follows from one attempt.

    ``reason``
        Why a delivery failed for good; empty otherwise.
    ``error_code``
        The cause, one of :class:`~live_push.delivery.result.ErrorCode`; empty on success.
    ``wait_seconds``
        How long this delivery waits for its next attempt; ``None`` where there is none.
    ``rest_seconds``
        How long the client asked us to leave the whole endpoint alone; ``None`` where it did not.
    ``endpoint_at_fault``
        Whether the failure counts for the endpoint's breaker. A failure that is not the endpoint's neither counts
        for the breaker nor resets it.
    """

    status: Literal["succeeded", "pending", "failed"]
    reason: Literal["", "exhausted", "gone", "too_large"] = ""
    error_code: str = ""
    wait_seconds: float | None = None
    rest_seconds: float | None = None
    endpoint_at_fault: bool = False


# The breaker asks "is it worth talking to this endpoint at all?". Network, time limits, TLS, 5xx and 429 say no; so
# does a name that leads to an internal address, for every push to it ends alike until the client's DNS is mended.
# Other 4xx, redirects and missing ids come from an endpoint that is well and dislikes a push; the remaining causes
# are ours.
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
    dice: Callable[[], float],
    capture_failed: bool = False,
    now: datetime | None = None,
) -> Decision:
    """The verdict on one attempt.

    ``attempts_in_run``
        From 1, this attempt included.
    ``run_seconds``
        From the start of the run's first attempt to the end of this one.
    ``dice``
        Gives 0 (included) to 1 (excluded), for the jitter.
    ``capture_failed``
        The answer lacks the third-party id that it must bring; makes a failed attempt of a 2xx.
    ``now``
        Aware; needed to read a ``Retry-After`` that is a date. Without it such a date asks for no rest.
    """
    # Plain text, because database drivers have ideas of their own about enums.
    error_code = str(error_code_of(result, capture_failed=capture_failed))
    if error_code == "":
        return Decision("succeeded")
    if error_code == ErrorCode.GONE:
        return Decision("failed", "gone", error_code)
    if error_code == ErrorCode.TOO_LARGE:
        return Decision("failed", "too_large", error_code)
    wait = _wait(policy, attempts_in_run, run_seconds, dice)
    return Decision(
        "failed" if wait is None else "pending",
        "exhausted" if wait is None else "",
        error_code,
        wait_seconds=wait,
        rest_seconds=_rest(result, now),
        endpoint_at_fault=error_code in _ENDPOINT_AT_FAULT,
    )


def error_code_of(result: Result, *, capture_failed: bool = False) -> str:
    """Why the attempt failed, one of :class:`~live_push.delivery.result.ErrorCode`; empty where it succeeded."""
    match result.status_code:
        case None:
            return result.error_code
        case 410:
            return ErrorCode.GONE
        case 413:
            return ErrorCode.TOO_LARGE
        case 429:
            return ErrorCode.RATE_LIMITED
    match result.status_code // 100:
        case 2:
            return ErrorCode.ID_MISSING if capture_failed else ""
        case 3:
            return ErrorCode.REDIRECT
        case 4:
            return ErrorCode.CLIENT_ERROR
        case 5:
            return ErrorCode.SERVER_ERROR
    return ErrorCode.ODD_STATUS


def _wait(policy: Policy, attempts_in_run: int, run_seconds: float, dice: Callable[[], float]) -> float | None:
    wait = policy.wait_after(attempts_in_run)
    if wait is None or policy.is_over(run_seconds + wait):
        return None
    jittered = wait + dice() * min(_JITTER_SHARE * wait, _MOST_JITTER_SECONDS)
    # Jitter must not cost the last attempt of the window.
    return wait if policy.is_over(run_seconds + jittered) else jittered


def _rest(result: Result, now: datetime | None) -> float | None:
    if result.retry_after is None or (result.status_code is not None and result.status_code // 100 == 2):
        return None
    # Nothing to rest for is no rest: a zero must not show up as one in the log.
    return parse_retry_after(result.retry_after, now) or None


def parse_retry_after(text: str, now: datetime | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3), 0 to six hours.

    Both forms: seconds, with or without a fraction, and a date in any of the three forms of RFC 9110, section 5.6.7.
    A time that has passed is 0; a text that is neither form, a negative number for one, is ``None``, and so is a date
    where ``now`` (aware) isn't given.
    """
    text = text.strip()
    # Few enough digits that float() stays finite; more of them are longer than six hours anyway.
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text[:300]), MOST_REST_SECONDS)
    if now is None:
        return None
    try:
        until = parsedate_to_datetime(text)
        # Without a zone it is UTC: HTTP knows no other.
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), MOST_REST_SECONDS)
