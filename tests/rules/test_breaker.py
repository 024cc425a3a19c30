"""When an endpoint is tried, rested and probed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.rules.breaker import (
    Breaker,
    after_failure,
    after_neutral_failure,
    after_success,
    may_try,
    rest_asked,
    start_probe,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("breaker", "now", "verdict"),
    [
        pytest.param(Breaker(), NOW, "go", id="a-new-endpoint"),
        pytest.param(Breaker("closed", 4), NOW, "go", id="four-failures"),
        pytest.param(Breaker("closed", 0, 0, later(60)), NOW, "rest", id="the-client-asked-for-a-rest"),
        pytest.param(Breaker("closed", 0, 0, later(60)), later(60), "go", id="that-rest-is-over"),
        pytest.param(Breaker("open", 5, 30, later(30)), NOW, "rest", id="just-opened"),
        pytest.param(Breaker("open", 5, 30, later(30)), later(29.999), "rest", id="almost-rested"),
        pytest.param(Breaker("open", 5, 30, later(30)), later(30), "probe", id="rested"),
        pytest.param(Breaker("half_open", 5, 30, later(20)), NOW, "rest", id="a-probe-is-under-way"),
        pytest.param(Breaker("half_open", 5, 30, later(20)), later(20), "probe", id="the-worker-of-the-probe-died"),
    ],
)
def test_may_this_endpoint_be_tried(breaker: Breaker, now: datetime, verdict: str) -> None:
    assert may_try(breaker, now) == verdict


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(Breaker(), Breaker("closed", 1), id="the-first-failure"),
        pytest.param(Breaker("closed", 3), Breaker("closed", 4), id="the-fourth"),
        pytest.param(Breaker("closed", 4), Breaker("open", 5, 30, later(30)), id="the-fifth-opens"),
        pytest.param(
            Breaker("closed", 4, 0, later(99)),
            Breaker("open", 5, 30, later(99)),
            id="a-longer-rest-that-was-asked-stays",
        ),
        pytest.param(
            Breaker("closed", 4, 0, later(9)), Breaker("open", 5, 30, later(30)), id="a-shorter-one-gives-way"
        ),
        pytest.param(
            Breaker("open", 5, 30, later(20)),
            Breaker("open", 6, 30, later(20)),
            id="one-that-was-under-way-when-it-opened",
        ),
        pytest.param(
            Breaker("half_open", 5, 30, later(15)),
            Breaker("open", 6, 60, later(60)),
            id="a-failed-probe-doubles-the-rest",
        ),
        pytest.param(
            Breaker("half_open", 9, 300, later(15)), Breaker("open", 10, 600, later(600)), id="up-to-ten-minutes"
        ),
        pytest.param(
            Breaker("half_open", 10, 600, later(15)), Breaker("open", 11, 600, later(600)), id="and-no-further"
        ),
        pytest.param(
            Breaker("half_open", 5, 30, later(900)), Breaker("open", 6, 60, later(60)), id="a-long-lease-is-no-rest"
        ),
    ],
)
def test_after_a_failure_that_is_the_endpoints(before: Breaker, after: Breaker) -> None:
    assert after_failure(before, NOW) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(Breaker(), Breaker(), id="nothing-to-close"),
        pytest.param(Breaker("closed", 4), Breaker(), id="the-count-starts-anew"),
        pytest.param(Breaker("closed", 4, 0, later(60)), Breaker("closed", 0, 0, later(60)), id="an-asked-rest-stays"),
        pytest.param(Breaker("half_open", 7, 120, later(15)), Breaker(), id="the-probe-succeeded"),
        pytest.param(Breaker("open", 5, 30, later(20)), Breaker(), id="one-that-was-under-way-when-it-opened"),
    ],
)
def test_after_a_success(before: Breaker, after: Breaker) -> None:
    assert after_success(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(Breaker("closed", 4), Breaker("closed", 4), id="it-neither-counts-nor-resets"),
        pytest.param(Breaker("open", 5, 30, later(20)), Breaker("open", 5, 30, later(20)), id="the-rest-goes-on"),
        pytest.param(
            Breaker("half_open", 5, 30, later(15)), Breaker("open", 5, 30, NOW), id="the-next-probe-may-follow-at-once"
        ),
    ],
)
def test_after_a_failure_that_is_not_the_endpoints(before: Breaker, after: Breaker) -> None:
    assert after_neutral_failure(before, NOW) == after


@pytest.mark.parametrize(
    ("before", "until"),
    [
        pytest.param(Breaker(), later(60), id="an-endpoint-that-did-not-rest"),
        pytest.param(Breaker("closed", 0, 0, later(30)), later(60), id="a-shorter-rest-gives-way"),
        pytest.param(Breaker("closed", 0, 0, later(90)), later(90), id="a-longer-one-stays"),
        pytest.param(Breaker("open", 5, 30, later(30)), later(60), id="an-open-breaker"),
    ],
)
def test_a_rest_that_the_client_asks_for(before: Breaker, until: datetime) -> None:
    after = rest_asked(before, NOW, 60)
    assert after.rests_until == until
    assert (after.state, after.failures_in_row, after.rest_seconds) == (
        before.state,
        before.failures_in_row,
        before.rest_seconds,
    )


def test_only_one_probe_is_under_way() -> None:
    rested = Breaker("open", 5, 30, NOW)
    assert may_try(rested, NOW) == "probe"
    probing = start_probe(rested, NOW, lease_seconds=30)
    assert may_try(probing, NOW) == "rest"
    assert may_try(probing, later(29)) == "rest"


def test_the_rests_of_an_endpoint_that_stays_sick() -> None:
    breaker, now, rests = Breaker(), NOW, []
    for _ in range(5):
        breaker = after_failure(breaker, now)
    for _ in range(7):
        rests.append(breaker.rest_seconds)
        assert breaker.rests_until is not None
        now = breaker.rests_until
        breaker = after_failure(start_probe(breaker, now, 30), now)
    assert rests == [30, 60, 120, 240, 480, 600, 600]


EVENTS = st.one_of(
    st.tuples(st.just("failure"), st.just(0.0)),
    st.tuples(st.just("neutral"), st.just(0.0)),
    st.tuples(st.just("success"), st.just(0.0)),
    st.tuples(st.just("asked"), st.floats(0.001, 21600)),
    st.tuples(st.just("clock"), st.floats(0, 700)),
)


@given(st.lists(EVENTS, max_size=60))
def test_whatever_happens_the_breaker_is_sane_and_comes_back(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), NOW
    for event, seconds in events:
        if event == "clock":
            now += timedelta(seconds=seconds)
            continue
        if may_try(breaker, now) == "probe":
            breaker = start_probe(breaker, now, 30)
            assert may_try(breaker, now) == "rest"
        if event == "failure":
            breaker = after_failure(breaker, now)
        elif event == "neutral":
            breaker = after_neutral_failure(breaker, now)
        elif event == "success":
            breaker = after_success(breaker)
            assert breaker.state == "closed"
            assert breaker.failures_in_row == 0
        else:
            breaker = rest_asked(breaker, now, seconds)
        assert (breaker.state == "closed") == (breaker.rest_seconds == 0)
        assert (breaker.state == "closed") == (breaker.failures_in_row < 5)
        assert breaker.rest_seconds in {0, 30, 60, 120, 240, 480, 600}
        assert breaker.state == "closed" or breaker.rests_until is not None
        # Nothing keeps an endpoint shut for ever: six hours is the longest that anyone may ask for.
        assert may_try(breaker, now + timedelta(hours=6)) != "rest"
