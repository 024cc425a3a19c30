"""Any sequence of awards and waits, against a second opinion that walks through time hour by hour."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from live_push.rules.tiers import lifecycle
from live_push.rules.tiers.ladder import Ladder, Level
from live_push.rules.tiers.lifecycle import DropPolicy, Event
from live_push.rules.tiers.timeframes import FixedTimeframe, NoTimeframe
from tests.tiers.builders import UTC, days, utc

BEGIN = utc(2027, 12, 20)


@st.composite
def ladders(draw):
    bounds = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    minimums, maximums = [None, *bounds], [*(bound - 1 for bound in bounds), None]
    return Ladder(
        tuple(
            Level(
                title=f"Tier {position}",
                min_value=low,
                max_value=high,
                maintain_score=draw(st.none() | st.integers(0, 80)),
            )
            for position, (low, high) in enumerate(zip(minimums, maximums, strict=True))
        )
    )


timeframes = st.one_of(
    st.just(NoTimeframe()),
    st.builds(days, st.integers(1, 20)),
    st.builds(FixedTimeframe, st.just(1), st.integers(1, 31), st.integers(1, 3), st.just(UTC)),
)
programs = st.builds(
    lifecycle.Program,
    ladder=ladders(),
    timeframe=timeframes,
    drop_policy=st.sampled_from(DropPolicy),
    base_expires=st.booleans(),
    update_assigns=st.booleans(),
)
# Hours waited, then points awarded: 0 is the clock alone.
steps = st.lists(
    st.tuples(st.integers(0, 400) | st.integers(8000, 9000), st.integers(-40, 60)), min_size=1, max_size=12
)


# A walk through years takes its time on a busy machine.
unhurried = settings(deadline=None)


class SecondOpinion:
    """The lifecycle as a walk: no dates, only hours left to count down and a calendar to look at each hour."""

    def __init__(self, program: lifecycle.Program) -> None:
        self.program = program
        self.hour = 0
        self.level = 0
        self.timeframe_score = self.tier_score = 0
        self.log = [(0, "start", 0, 0, 0)]
        self._begin_tier()

    def _begin_tier(self) -> None:
        frame = self.program.timeframe
        may_expire = self.level > 0 or self.program.base_expires
        self.hours_left = self.resets_left = None
        if may_expire and isinstance(frame, FixedTimeframe):
            self.resets_left = frame.expires_after_resets
        elif may_expire and not isinstance(frame, NoTimeframe):
            self.hours_left = 24 * frame.length

    def _is_reset_hour(self) -> bool:
        frame = self.program.timeframe
        now = BEGIN + timedelta(hours=self.hour)
        return isinstance(frame, FixedTimeframe) and (now.month, now.day, now.hour) == (frame.month, frame.day, 0)

    def wait(self, hours: int) -> None:
        for _ in range(hours):
            self.hour += 1
            if self.hours_left is not None:
                self.hours_left -= 1
            reset = self._is_reset_hour()
            if reset and self.resets_left is not None:
                self.resets_left -= 1
            if 0 in (self.hours_left, self.resets_left):
                self._expire()
            elif reset:
                self._empty("reset")

    def _expire(self) -> None:
        level = self.program.ladder[self.level]
        enough = level.maintain_score if level.maintain_score is not None else (level.min_value or 0)
        if self.level == 0 or self.timeframe_score >= enough:
            event = "maintain"
        else:
            event = "drop"
            self.level -= 1
            if self.program.drop_policy is DropPolicy.BALANCE_BASED:
                while self.level > 0 and self.program.ladder[self.level].min_value > self.timeframe_score:
                    self.level -= 1
        self._begin_tier()
        self._empty(event)

    def _empty(self, event: str) -> None:
        self.timeframe_score = self.tier_score = 0
        self._note(event)

    def earn(self, points: int) -> None:
        if points == 0:
            return
        self.timeframe_score = max(self.timeframe_score + points, 0)
        self.tier_score = max(self.tier_score + points, 0)
        top = len(self.program.ladder) - 1
        climbed = False
        while points > 0 and self.level < top and self.timeframe_score > self.program.ladder[self.level].max_value:
            self.level += 1
            climbed = True
        if climbed:
            self.tier_score = self.timeframe_score - self.program.ladder[self.level].min_value
            self._begin_tier()
        self._note("jump" if climbed else "update")

    def _note(self, event: str) -> None:
        self.log.append((self.hour, event, self.level, self.timeframe_score, self.tier_score))


def lived(program: lifecycle.Program, waits_and_points: list[tuple[int, int]]) -> list[lifecycle.Change]:
    changes = [lifecycle.start_membership(program, BEGIN)]
    now = BEGIN
    for hours, points in waits_and_points:
        now += timedelta(hours=hours)
        changes += lifecycle.award(program, changes[-1].after, points, now)
    return changes


@unhurried
@given(programs, steps)
def test_the_rules_agree_with_somebody_who_watches_every_hour(program, waits_and_points):
    watcher = SecondOpinion(program)
    for hours, points in waits_and_points:
        watcher.wait(hours)
        watcher.earn(points)
    assert [
        (
            (change.at - BEGIN) // timedelta(hours=1),
            change.event.value,
            change.after.level,
            change.after.timeframe_score,
            change.after.tier_score,
        )
        for change in lived(program, waits_and_points)
    ] == watcher.log


@unhurried
@given(programs, steps)
def test_dates_only_move_forward_and_nothing_due_is_left_behind(program, waits_and_points):
    changes = lived(program, waits_and_points)
    for one, following in pairwise(changes):
        assert following.before == one.after
        assert following.at >= one.at
        assert following.after.date_reached >= one.after.date_reached
        assert following.after.date_assigned >= one.after.date_assigned
    for change in changes:
        after = change.after
        assert after.date_reached <= after.date_assigned <= change.at
        assert 0 <= after.tier_score <= after.timeframe_score
        assert (due := lifecycle.next_due(after)) is None or due > change.at
        assert (after.date_reached == change.at) or change.event not in {Event.START, Event.JUMP, Event.DROP}
        assert (after.date_assigned == change.at) or change.event is Event.UPDATE


@unhurried
@given(programs, steps)
def test_one_late_run_tells_the_same_story_as_a_run_every_few_hours(program, waits_and_points):
    changes = lived(program, waits_and_points)
    end = changes[-1].at + timedelta(days=900)
    at_once = list(lifecycle.due(program, changes[-1].after, end))

    member, bit_by_bit, now = changes[-1].after, [], changes[-1].at
    while now < end:
        now = min(end, now + timedelta(hours=997))
        found = list(lifecycle.due(program, member, now))
        bit_by_bit += found
        member = found[-1].after if found else member
    assert bit_by_bit == at_once
    assert list(lifecycle.due(program, member, end)) == []
