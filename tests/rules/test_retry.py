"""Verdicts and the schedule, as tables; the promise of five an hour for eight hours, as a property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live_push.rules.result import ErrorCode, Result
from live_push.rules.retry import (
    CROWDTWIST,
    POLICIES,
    STANDARD_WEBHOOKS,
    Decision,
    Policy,
    decide,
    parse_retry_after,
    policy,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = 3600.0
WINDOW = 8 * HOUR


def decided(result: Result, **changes: Any) -> Decision:
    given_values: dict[str, Any] = {
        "attempts_in_run": 1,
        "run_seconds": 0.0,
        "policy": CROWDTWIST,
        "random": lambda: 0.0,
        "now": NOW,
    }
    return decide(result, **{**given_values, **changes})


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        pytest.param(200, Decision("succeeded"), id="200-is-success"),
        pytest.param(201, Decision("succeeded"), id="201-is-success"),
        pytest.param(204, Decision("succeeded"), id="204-is-success-without-a-body"),
        pytest.param(299, Decision("succeeded"), id="299-is-the-last-success"),
        pytest.param(300, Decision("pending", "", "redirect", 10.0), id="300-is-the-first-redirect"),
        pytest.param(308, Decision("pending", "", "redirect", 10.0), id="308-is-not-followed"),
        pytest.param(399, Decision("pending", "", "redirect", 10.0), id="399-is-the-last-redirect"),
        pytest.param(400, Decision("pending", "", "client_error", 10.0), id="400-is-retried-and-neutral"),
        pytest.param(401, Decision("pending", "", "client_error", 10.0), id="401-is-retried-and-neutral"),
        pytest.param(404, Decision("pending", "", "client_error", 10.0), id="404-is-retried-and-neutral"),
        pytest.param(410, Decision("failed", "gone", "gone"), id="410-ends-for-good"),
        pytest.param(411, Decision("pending", "", "client_error", 10.0), id="411-is-not-410"),
        pytest.param(413, Decision("failed", "too_large", "too_large"), id="413-ends-for-good"),
        pytest.param(429, Decision("pending", "", "rate_limited", 10.0, None, True), id="429-counts"),
        pytest.param(499, Decision("pending", "", "client_error", 10.0), id="499-is-the-last-client-error"),
        pytest.param(500, Decision("pending", "", "server_error", 10.0, None, True), id="500-counts"),
        pytest.param(503, Decision("pending", "", "server_error", 10.0, None, True), id="503-counts"),
        pytest.param(599, Decision("pending", "", "server_error", 10.0, None, True), id="599-is-the-last-server-error"),
        pytest.param(600, Decision("pending", "", "odd_status", 10.0), id="600-is-no-status"),
        pytest.param(999, Decision("pending", "", "odd_status", 10.0), id="999-is-no-status"),
        pytest.param(100, Decision("pending", "", "odd_status", 10.0), id="100-is-no-final-status"),
    ],
)
def test_what_a_status_code_means(status_code: int, expected: Decision) -> None:
    assert decided(Result(status_code)) == expected


@pytest.mark.parametrize(
    ("code", "at_fault"),
    [
        (ErrorCode.DNS_FAILED, True),
        (ErrorCode.DNS_TIMEOUT, True),
        (ErrorCode.ADDRESS_REFUSED, True),
        (ErrorCode.CONNECT_REFUSED, True),
        (ErrorCode.CONNECT_TIMEOUT, True),
        (ErrorCode.CONNECT_FAILED, True),
        (ErrorCode.TLS_EXPIRED, True),
        (ErrorCode.TLS_WRONG_NAME, True),
        (ErrorCode.TLS_UNKNOWN_ISSUER, True),
        (ErrorCode.TLS_FAILED, True),
        (ErrorCode.TIMEOUT, True),
        (ErrorCode.RESET, True),
        (ErrorCode.PROTOCOL_ERROR, True),
        (ErrorCode.URL_REFUSED, False),
        (ErrorCode.NEEDS_CREDENTIALS, False),
        (ErrorCode.MISCONFIGURED, False),
        (ErrorCode.LEASE_LOST, False),
        (ErrorCode.UNEXPECTED, False),
    ],
    ids=str,
)
def test_an_attempt_without_an_answer_is_retried(code: ErrorCode, at_fault: bool) -> None:
    assert decided(Result(None, code)) == Decision("pending", "", code, 10.0, None, at_fault)


def test_an_answer_without_the_id_it_must_bring_is_a_failure_that_the_breaker_ignores() -> None:
    assert decided(Result(200), capture_failed=True) == Decision("pending", "", "id_missing", 10.0)


@pytest.mark.parametrize("status_code", [410, 413, 500])
def test_a_missing_id_changes_no_other_verdict(status_code: int) -> None:
    assert decided(Result(status_code), capture_failed=True) == decided(Result(status_code))


# The schedule


def test_without_durations_crowdtwist_starts_forty_attempts_at_the_promised_times() -> None:
    starts = [0.0]
    while (wait := decided(Result(500), attempts_in_run=len(starts), run_seconds=starts[-1]).wait_seconds) is not None:
        starts.append(starts[-1] + wait)
    first_hour = [0, 10, 60, 600, 1800, 3600]
    assert starts == [*first_hour, *range(3600 + 720, 8 * 3600, 720)]
    assert len(starts) == 40


@pytest.mark.parametrize(
    ("attempts_in_run", "run_seconds", "wait"),
    [
        pytest.param(1, 0.0, 10.0, id="the-first-wait"),
        pytest.param(1, 15.0, 10.0, id="it-counts-from-the-end-of-the-attempt"),
        pytest.param(5, 1800.0, 1800.0, id="the-last-listed-wait"),
        pytest.param(6, 3600.0, 720.0, id="the-first-of-the-steady-ones"),
        pytest.param(39, WINDOW - 720.001, 720.0, id="just-inside-the-window"),
        pytest.param(38, WINDOW - 720.0, None, id="it-would-start-at-eight-hours"),
        pytest.param(38, WINDOW - 719.0, None, id="it-would-start-after-eight-hours"),
        pytest.param(2, 5 * WINDOW, None, id="an-attempt-that-ended-long-after-the-window"),
        pytest.param(39, 0.0, 720.0, id="the-fortieth-is-allowed"),
        pytest.param(40, 0.0, None, id="the-forty-first-is-not"),
        pytest.param(1, WINDOW - 10.0, None, id="a-first-attempt-that-took-eight-hours"),
    ],
)
def test_the_wait_of_crowdtwist(attempts_in_run: int, run_seconds: float, wait: float | None) -> None:
    decision = decided(Result(500), attempts_in_run=attempts_in_run, run_seconds=run_seconds)
    assert decision.wait_seconds == wait
    assert (decision.status, decision.reason) == (("failed", "exhausted") if wait is None else ("pending", ""))


def test_an_exhausted_delivery_keeps_the_cause_of_its_last_attempt() -> None:
    decision = decided(Result(None, ErrorCode.TIMEOUT), attempts_in_run=40)
    assert (decision.error_code, decision.endpoint_at_fault) == ("timeout", True)


def test_a_success_in_the_last_attempt_is_a_success() -> None:
    assert decided(Result(200), attempts_in_run=40, run_seconds=WINDOW).status == "succeeded"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize("attempts_in_run", [1, 2, 3, 4, 5, 6, 39])
def test_jitter_is_added_and_stays_small(attempts_in_run: int, share: float) -> None:
    wait = decided(Result(500), attempts_in_run=attempts_in_run).wait_seconds
    jittered = decided(Result(500), attempts_in_run=attempts_in_run, random=lambda: share).wait_seconds
    assert wait is not None
    assert jittered is not None
    assert 0 <= jittered - wait <= min(wait / 10, 30)


def test_jitter_does_not_cost_the_last_attempt() -> None:
    run_seconds = WINDOW - 721
    assert decided(Result(500), attempts_in_run=38, run_seconds=run_seconds, random=lambda: 0.99).wait_seconds == 720


@pytest.mark.parametrize(
    ("run_seconds", "over"),
    [(0.0, False), (WINDOW - 0.001, False), (WINDOW, True), (WINDOW + 1, True)],
)
def test_nothing_may_start_at_eight_hours(run_seconds: float, over: bool) -> None:
    assert CROWDTWIST.is_over(run_seconds) is over


def test_a_policy_without_a_window_is_never_over() -> None:
    assert not STANDARD_WEBHOOKS.is_over(1e9)


@given(
    attempts=st.lists(
        st.tuples(
            st.one_of(st.just(0.0), st.floats(0, 20), st.floats(0, 4 * HOUR)),  # how long the attempt took
            st.floats(0, 1, exclude_max=True),  # the random number
            st.one_of(st.just(0.0), st.floats(0, 2 * HOUR)),  # how late the next one was claimed
        ),
        min_size=45,
        max_size=45,
    )
)
@example(attempts=[(0.0, 0.0, 0.0)] * 45)
@example(attempts=[(0.0, 0.999999, 0.0)] * 45)
@example(attempts=[(15.0, 0.0, 0.0)] * 45)
def test_no_hour_holds_more_than_five_attempts_and_no_run_more_than_forty(
    attempts: list[tuple[float, float, float]],
) -> None:
    starts = []
    start = 0.0
    for duration, share, delay in attempts:
        starts.append(start)
        end = start + duration
        wait = decided(
            Result(500), attempts_in_run=len(starts), run_seconds=end, random=lambda share=share: share
        ).wait_seconds
        if wait is None:
            break
        assert end + wait < WINDOW
        start = end + wait + delay
        if CROWDTWIST.is_over(start):
            break
    assert len(starts) <= 40
    assert all(later < WINDOW for later in starts)
    # A sum of floats may be a hair below the hour that five waits add up to.
    assert all(sixth - first > HOUR - 1e-6 for first, sixth in zip(starts, starts[5:], strict=False))


# Named policies


def test_standard_webhooks_waits_as_its_specification_recommends() -> None:
    assert STANDARD_WEBHOOKS.waits == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert decided(Result(500), policy=STANDARD_WEBHOOKS, attempts_in_run=9).wait_seconds == 86400
    assert decided(Result(500), policy=STANDARD_WEBHOOKS, attempts_in_run=10).reason == "exhausted"


@pytest.mark.parametrize("name", ["crowdtwist", "standard_webhooks"])
def test_our_own_policies_are_found_by_name_and_cannot_be_redefined(name: str) -> None:
    assert policy(name, {}) is POLICIES[name]
    assert policy(name, {name: [1]}) is POLICIES[name]


@pytest.mark.parametrize(
    ("waits", "attempts_in_run", "wait"),
    [
        pytest.param([60, 300], 1, 60, id="the-first-wait-follows-the-first-attempt"),
        pytest.param([60, 300], 2, 300, id="then-the-second"),
        pytest.param([60, 300], 3, None, id="two-waits-make-three-attempts"),
        pytest.param([0, 0.5], 1, 0, id="a-wait-may-be-nothing"),
        pytest.param([0, 0.5], 2, 0.5, id="or-a-fraction"),
    ],
)
def test_a_list_of_waits_from_the_settings(waits: list[float], attempts_in_run: int, wait: float | None) -> None:
    ours = policy("ours", {"ours": waits})
    assert decided(Result(500), policy=ours, attempts_in_run=attempts_in_run).wait_seconds == wait


def test_an_unknown_policy_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no retry policy 'often'; known are crowdtwist, standard_webhooks, ours"):
        policy("often", {"ours": [1]})


@pytest.mark.parametrize(
    "known", [*POLICIES.values(), policy("ours", {"ours": [1, 2, 3]})], ids=lambda known: known.name
)
def test_every_schedule_ends(known: Policy) -> None:
    assert known.wait_after(known.max_attempts) is None
    assert all(known.wait_after(attempts) is not None for attempts in range(1, known.max_attempts))


# Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("120", 120.0, id="seconds"),
        pytest.param("0", 0.0, id="at-once"),
        pytest.param("  7 ", 7.0, id="with-spaces"),
        pytest.param("1.5", 1.5, id="a-fraction-is-clear-enough"),
        pytest.param("21600", 21600.0, id="six-hours"),
        pytest.param("21601", 21600.0, id="one-second-too-long"),
        pytest.param("31536000", 21600.0, id="a-year"),
        pytest.param("9" * 5000, 21600.0, id="more-digits-than-an-int-takes"),
        pytest.param("-5", None, id="negative"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a-word"),
        pytest.param("1e9", None, id="an-exponent"),
        pytest.param("inf", None, id="infinity"),
        pytest.param("nan", None, id="not-a-number"),
        pytest.param("٣", None, id="a-digit-of-another-script"),
        pytest.param("10, 20", None, id="two-headers-joined"),
        pytest.param("Mon, 23 Nov 2026 12:02:00 GMT", 120.0, id="a-date"),
        pytest.param("Monday, 23-Nov-26 12:02:00 GMT", 120.0, id="the-form-of-rfc-850"),
        pytest.param("Mon Nov 23 12:02:00 2026", 120.0, id="the-form-of-asctime"),
        pytest.param("Mon, 23 Nov 2026 14:02:00 +0200", 120.0, id="another-zone"),
        pytest.param("Mon, 23 Nov 2026 11:00:00 GMT", 0.0, id="a-date-that-has-passed"),
        pytest.param("Tue, 23 Nov 2027 12:00:00 GMT", 21600.0, id="a-date-in-a-year"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 21600.0, id="the-last-date"),
        pytest.param("Mon, 32 Nov 2026 12:00:00 GMT", None, id="a-date-that-never-comes"),
        pytest.param("Mon, 23 Nov 99999 12:00:00 GMT", None, id="a-year-that-never-comes"),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


def test_a_date_needs_a_clock_and_seconds_do_not() -> None:
    assert parse_retry_after("Mon, 23 Nov 2026 12:02:00 GMT", None) is None
    assert parse_retry_after("120", None) == 120.0


@given(st.one_of(st.text(), st.from_regex(r"[0-9.+-]{1,30}"), st.from_regex(r"[A-Za-z]{3}, [0-9 :A-Za-z+-]{0,40}")))
def test_whatever_retry_after_says_it_is_nothing_or_a_sane_rest(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= 6 * HOUR


@given(st.integers(0, 6 * 3600))
def test_both_forms_of_retry_after_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) == parse_retry_after(str(seconds), NOW) == seconds


@pytest.mark.parametrize(
    ("status_code", "rest"),
    [
        pytest.param(429, 60.0, id="429"),
        pytest.param(503, 60.0, id="503"),
        pytest.param(500, 60.0, id="another-5xx"),
        pytest.param(404, 60.0, id="another-4xx"),
        pytest.param(301, 60.0, id="a-redirect"),
        pytest.param(200, None, id="not-on-2xx"),
        pytest.param(410, None, id="not-on-410"),
        pytest.param(413, None, id="not-on-413"),
    ],
)
def test_which_answers_may_ask_for_a_rest(status_code: int, rest: float | None) -> None:
    assert decided(Result(status_code, retry_after="60")).rest_seconds == rest


def test_a_2xx_without_its_id_asks_for_no_rest_either() -> None:
    assert decided(Result(200, retry_after="60"), capture_failed=True).rest_seconds is None


@pytest.mark.parametrize("retry_after", [None, "0", "-1", "soon", "Mon, 23 Nov 2026 11:00:00 GMT"])
def test_nothing_to_rest_for_is_no_rest(retry_after: str | None) -> None:
    assert decided(Result(503, retry_after=retry_after)).rest_seconds is None


def test_a_rest_leaves_the_schedule_of_the_delivery_alone() -> None:
    decision = decided(Result(503, retry_after="7200"))
    assert (decision.wait_seconds, decision.rest_seconds) == (10.0, 7200.0)


def test_the_waits_of_crowdtwist_make_the_promise_by_themselves() -> None:
    waits = [CROWDTWIST.wait_after(attempts) or 0 for attempts in range(1, 40)]
    sums = [sum(waits[first : first + 5]) for first in range(len(waits) - 4)]
    assert min(sums) == HOUR
    assert all(earlier <= HOUR for earlier, _ in pairwise(waits))


@pytest.mark.parametrize("status_code", [None, 200, 302, 404, 410, 413, 429, 500, 600])
def test_a_cause_is_stored_as_plain_text(status_code: int | None) -> None:
    result = Result(status_code) if status_code else Result(None, ErrorCode.RESET)
    assert type(decided(result).error_code) is str
