"""When an endpoint that fails is warned about and disabled, and that a quiet one is neither."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from live_push.rules.failing import Failing, after_failure, after_success, next_step
from live_push.rules.retry import CROWDTWIST, STANDARD_WEBHOOKS, Policy

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
EVERY_HALF_DAY = tuple(12.0 * number for number in range(11))


def outcome(failures: tuple[float, ...], policy: Policy = CROWDTWIST, successes: tuple[float, ...] = ()) -> str:
    """Play failures and successes, given in hours after midnight; return the steps taken, each with its hour."""
    failing, steps = Failing(), []
    for hours in sorted((*failures, *successes)):
        now = MIDNIGHT + timedelta(hours=hours)
        failing = after_success(failing) if hours in successes else after_failure(failing, now, policy.longest_wait)
        step = next_step(failing, now)
        if step == "warn":
            failing = Failing(failing.since, failing.last_at, failing.days, warned_at=now)
        elif step == "announce_recovery":
            failing = Failing(failing.since, failing.last_at, failing.days)
        if step != "nothing":
            steps.append(f"{step} at {hours:g}")
        if step == "disable":
            break
    return ", ".join(steps)


RARE = Policy("rare", waits=(100 * 3600.0,) * 9, max_attempts=10)

CASES = [
    # remark, hours of the failures, policy, hours of the successes, steps
    ("one failure", (0,), CROWDTWIST, (), ""),
    ("failures for less than six hours", (0, 1, 5.9), CROWDTWIST, (), ""),
    ("failures for six hours", (0, 6), CROWDTWIST, (), "warn at 6"),
    ("one warning for each incident", (0, 6, 7, 30), CROWDTWIST, (), "warn at 6"),
    ("failures for five days", EVERY_HALF_DAY, CROWDTWIST, (), "warn at 12, disable at 120"),
    ("failures for just less", (*EVERY_HALF_DAY[:-1], 119.9), CROWDTWIST, (), "warn at 12"),
    ("one success between", EVERY_HALF_DAY, CROWDTWIST, (60.5,), "warn at 12, announce_recovery at 60.5, warn at 84"),
    ("a failure on day 0 and one on day 6", (0, 144), CROWDTWIST, (), ""),
    (
        "a single failure six days after an outage that was repaired without a push",
        (0, 2, 4, 6, 8, 152),
        CROWDTWIST,
        (),
        "warn at 6",
    ),
    ("a failure a week", tuple(168.0 * week for week in range(10)), CROWDTWIST, (), ""),
    ("a pause of a day and the longest wait", (0, 24.5), CROWDTWIST, (), "warn at 24.5"),
    ("a pause that is longer", (0, 24.6), CROWDTWIST, (), ""),
    ("a policy that waits longer allows a longer pause", (0, 48), STANDARD_WEBHOOKS, (), "warn at 48"),
    ("also it ends", (0, 48.1), STANDARD_WEBHOOKS, (), ""),
    ("three days of the five suffice", (0, 48, 96, 120), STANDARD_WEBHOOKS, (), "warn at 48, disable at 120"),
    ("failures on two days only", (0, 12, 120), RARE, (), "warn at 12"),
    ("on three days", (0, 12, 119, 121), RARE, (), "warn at 12, disable at 121"),
    ("days that are longer ago than five don't count", (0, 24, 47, 147, 180), RARE, (), "warn at 24"),
    ("never within a day of the warning", (0, 100, 123, 125), RARE, (), "warn at 100, disable at 125"),
    ("a warning comes first, however late it is", (0, 1, 119, 140), RARE, (), "warn at 119"),
    ("a new incident is warned of anew", (0, 6, 168, 174), CROWDTWIST, (), "warn at 6, warn at 174"),
    (
        "the end of an incident is told whenever it is seen",
        (0, 6),
        CROWDTWIST,
        (300,),
        "warn at 6, announce_recovery at 300",
    ),
]


@pytest.mark.parametrize(
    ("failures", "policy", "successes", "steps"), [pytest.param(*case, id=remark) for remark, *case in CASES]
)
def test_an_endpoint_is_warned_about_and_disabled(
    failures: tuple[float, ...], policy: Policy, successes: tuple[float, ...], steps: str
) -> None:
    assert outcome(failures, policy, successes) == steps


def test_days_are_those_of_utc() -> None:
    east = datetime(2026, 11, 24, 1, tzinfo=UTC).astimezone(tz=None)
    assert after_failure(Failing(), east, 0.0).days == (date(2026, 11, 24),)


def test_a_day_is_kept_once_and_no_longer_than_it_counts() -> None:
    failing = Failing()
    for hour in range(24 * 30):
        failing = after_failure(failing, MIDNIGHT + timedelta(hours=hour), 0.0)
    assert failing.days == tuple(date(2026, 12, day) for day in range(17, 23))
