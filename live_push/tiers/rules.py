"""The lifecycle of a membership: start, score, jump, maintain, drop, reset.

Pure functions of a program, a membership, an instant and points. Instants are aware datetimes; dates come out in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from live_push.exceptions import TierError

from .ladder import Ladder
from .timeframes import Dates, Timeframe

# The largest whole number that every JSON reader keeps exactly (RFC 8259, section 6).
MOST_POINTS = 2**53 - 1


class Event(StrEnum):
    """What happened to a membership, as the body's ``assignedByEvent`` spells it."""

    START = "start"  # the member begins, at the base
    UPDATE = "update"  # the score changed, the level did not
    JUMP = "jump"  # a higher level was reached
    DROP = "drop"  # at expiry too little had been earned to stay
    MAINTAIN = "maintain"  # at expiry enough had been earned to stay
    RESET = "reset"  # the counters went to 0, the level stayed


class Cause(StrEnum):
    """What led to an event."""

    ENROLMENT = "enrolment"
    POINTS = "points"
    CLOCK = "clock"
    OVERRIDE = "override"  # by hand
    REEVALUATION = "reevaluation"  # the program was edited


class DropPolicy(StrEnum):
    """Where a drop leads."""

    BALANCE_BASED = "balance_based"  # to the level that the score qualifies for, at least one down
    ONE_DOWN = "one_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The ladder and the policies of a tier program."""

    ladder: Ladder
    timeframe: Timeframe
    drop_policy: DropPolicy = DropPolicy.BALANCE_BASED
    base_expires: bool = True
    update_assigns: bool = True

    def dates(self, level: int, at: datetime) -> Dates:
        """The expiry and the reset of a level assigned ``at``; raises ``TierError`` beyond the year 9999."""
        try:
            dates = self.timeframe.dates(at)
        except (ValueError, OverflowError):
            raise TierError(f"A tier assigned at {at.isoformat()} would expire beyond the calendar.") from None
        return dates if level or self.base_expires else Dates(None, dates.reset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Where a member stands. ``level`` is a position on the ladder, 0 the base; scores are whole points from 0.

    ``in_maintenance`` lasts from a reset to the jump or the expiry that follows it.
    """

    level: int
    tier_score: int
    timeframe_score: int
    date_reached: datetime
    date_assigned: datetime
    expiration_date: datetime | None
    reset_date: datetime | None
    assigned_by_event: Event
    in_maintenance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event: what, why, the instant whose date it carries, the membership before (none at a start) and after."""

    event: Event
    cause: Cause
    at: datetime
    before: Membership | None
    after: Membership


def start(program: Program, at: datetime, cause: Cause = Cause.ENROLMENT) -> Change:
    """A member begins at the base with nothing earned."""
    return _arrive(program, None, Event.START, cause, 0, at)


def award(program: Program, membership: Membership, points: int, at: datetime) -> list[Change]:
    """What is due up to ``at``, then the points; negative points are a correction and never drop anybody.

    No points are no event. Raises ``TierError`` where the score would leave the range that every JSON reader keeps
    exactly.
    """
    changes = list(due(program, membership, at))
    if points:
        changes.append(_score(program, _latest(membership, changes), points, at))
    return changes


def due(program: Program, membership: Membership, now: datetime) -> Iterator[Change]:
    """Every reset and expiry up to and including ``now``, in order, each with the instant at which it was due.

    A date that is left over from before an edit, of a kind that the timeframe no longer has, does nothing.
    """
    membership = replace(
        membership,
        expiration_date=membership.expiration_date if program.timeframe.expires else None,
        reset_date=membership.reset_date if program.timeframe.resets else None,
    )
    while (at := next_due(membership)) is not None and at <= now:
        # At the same instant the expiry is judged with the scores before the reset, and stands for both.
        happens = _expire if at == membership.expiration_date else _reset
        change = happens(program, membership, at)
        yield change
        membership = change.after


def next_due(membership: Membership) -> datetime | None:
    """When the clock changes the membership next; ``None`` for never."""
    return min((date for date in (membership.expiration_date, membership.reset_date) if date is not None), default=None)


def override(program: Program, membership: Membership | None, level: int, at: datetime) -> list[Change]:
    """Put a member on a level by hand, after what is due: a jump upwards, a drop downwards.

    Without a membership the member starts first. A drop takes the scores, as it does at an expiry: what was earned for
    the higher level would jump back to it. Raises ``TierError`` for a level that the member is on.
    """
    if membership is None:
        changes = [start(program, at, Cause.OVERRIDE)]
        membership = changes[0].after
    else:
        changes = list(due(program, membership, at))
    current = _latest(membership, changes)
    if level > current.level:
        changes.append(_arrive(program, current, Event.JUMP, Cause.OVERRIDE, level, at, current.timeframe_score))
    elif level < current.level:
        changes.append(_arrive(program, current, Event.DROP, Cause.OVERRIDE, level, at))
    elif not changes:
        raise TierError(f"The member is in {program.ladder[level].title!r} already.")
    return changes


def reevaluate(program: Program, membership: Membership, now: datetime) -> list[Change]:
    """What an edited program changes for a membership, after what is due.

    A score that reaches a higher level jumps; nobody drops before the expiry. Dates that the program no longer has go,
    and dates that it newly has count from ``now``; that is an update.
    """
    changes = list(due(program, membership, now))
    current = _latest(membership, changes)
    reached = program.ladder.reached_by(current.timeframe_score)
    if reached > current.level:
        jump = _arrive(program, current, Event.JUMP, Cause.REEVALUATION, reached, now, current.timeframe_score)
        return [*changes, jump]
    dates = program.dates(current.level, now)
    expiration_date = dates.expiration and (current.expiration_date or dates.expiration)
    reset_date = dates.reset and (current.reset_date or dates.reset)
    if (expiration_date, reset_date) != (current.expiration_date, current.reset_date):
        after = replace(_updated(program, current), expiration_date=expiration_date, reset_date=reset_date)
        changes.append(Change(event=Event.UPDATE, cause=Cause.REEVALUATION, at=now, before=current, after=after))
    return changes


def lasting_event(changes: Sequence[Change]) -> Event:
    """The event that stands for changes made in one step: a mere update hides none that came before it."""
    telling = [change.event for change in changes if change.event is not Event.UPDATE]
    return telling[-1] if telling else changes[-1].after.assigned_by_event


def _latest(membership: Membership, changes: Sequence[Change]) -> Membership:
    return changes[-1].after if changes else membership


def _score(program: Program, before: Membership, points: int, at: datetime) -> Change:
    timeframe_score = max(0, before.timeframe_score + points)
    if timeframe_score > MOST_POINTS:
        raise TierError(f"{points} points would take the timeframe score beyond {MOST_POINTS}.")
    reached = program.ladder.reached_by(timeframe_score)
    if points > 0 and reached > before.level:
        return _arrive(program, before, Event.JUMP, Cause.POINTS, reached, at, timeframe_score)
    after = replace(
        _updated(program, before), timeframe_score=timeframe_score, tier_score=max(0, before.tier_score + points)
    )
    return Change(event=Event.UPDATE, cause=Cause.POINTS, at=at, before=before, after=after)


def _updated(program: Program, before: Membership) -> Membership:
    return replace(before, assigned_by_event=Event.UPDATE) if program.update_assigns else before


def _arrive(
    program: Program,
    before: Membership | None,
    event: Event,
    cause: Cause,
    level: int,
    at: datetime,
    timeframe_score: int = 0,
) -> Change:
    dates = program.dates(level, at)
    after = Membership(
        level=level,
        # What exceeds the threshold counts for the new level already.
        tier_score=max(0, timeframe_score - program.ladder[level].threshold),
        timeframe_score=timeframe_score,
        date_reached=at,
        date_assigned=at,
        expiration_date=dates.expiration,
        reset_date=dates.reset,
        assigned_by_event=event,
    )
    return Change(event=event, cause=cause, at=at, before=before, after=after)


def _expire(program: Program, before: Membership, at: datetime) -> Change:
    maintained = before.timeframe_score >= program.ladder[before.level].maintain_threshold
    if before.level and not maintained:
        below = before.level - 1
        if program.drop_policy is DropPolicy.BALANCE_BASED:
            below = min(below, program.ladder.reached_by(before.timeframe_score))
        return _arrive(program, before, Event.DROP, Cause.CLOCK, below, at)
    dates = program.dates(before.level, at)
    after = replace(
        _emptied(before, Event.MAINTAIN, at),
        expiration_date=dates.expiration,
        reset_date=dates.reset,
        in_maintenance=False,
    )
    return Change(event=Event.MAINTAIN, cause=Cause.CLOCK, at=at, before=before, after=after)


def _reset(program: Program, before: Membership, at: datetime) -> Change:
    reset_date = program.dates(before.level, at).reset
    after = replace(_emptied(before, Event.RESET, at), reset_date=reset_date, in_maintenance=True)
    return Change(event=Event.RESET, cause=Cause.CLOCK, at=at, before=before, after=after)


def _emptied(before: Membership, event: Event, at: datetime) -> Membership:
    return replace(before, tier_score=0, timeframe_score=0, date_assigned=at, assigned_by_event=event)
