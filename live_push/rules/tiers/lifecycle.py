"""The lifecycle of a tier membership, as pure functions.

A member starts at the base tier. Points raise the score, and a score that reaches a higher tier makes the member jump.
At the expiry of a tier the member maintains it or drops. In a fixed timeframe the scores are also reset every year.

Every function takes a program, a membership and an instant, and returns the changes that follow. Instants are datetimes
with a time zone; the calculated dates are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from live_push.exceptions import TierError
from live_push.rules.messages import Message

from .ladder import Ladder
from .timeframes import Dates, Timeframe

MAX_POINTS = 2**53 - 1
"""The largest score: the largest whole number that every JSON reader keeps exactly (RFC 8259, section 6)."""


class Event(StrEnum):
    """What happened to a membership. The values are those of ``assignedByEvent`` in the body."""

    START = "start"  # The member began at the base level.
    UPDATE = "update"  # The score changed, but not the level.
    JUMP = "jump"  # The score reached a higher level.
    DROP = "drop"  # At expiry the score was too low to keep the level.
    MAINTAIN = "maintain"  # At expiry the score was high enough to keep the level.
    RESET = "reset"  # The scores were reset to 0, and the level was kept.


class Cause(StrEnum):
    """Why an event happened."""

    ENROLMENT = "enrolment"
    POINTS = "points"
    CLOCK = "clock"
    OVERRIDE = "override"  # An operator put the member into a tier.
    REEVALUATION = "reevaluation"  # The program was edited.


class DropPolicy(StrEnum):
    """To which level a member drops."""

    BALANCE_BASED = "balance_based"  # To the level that the score reaches, but at least one level down.
    ONE_DOWN = "one_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The ladder, the timeframe and the policies of a tier program.

    ``base_expires``
        Whether the base level has an expiry. A member maintains the base level at its expiry.
    ``update_assigns``
        Whether a change of the score alone becomes the assigning event, ``assignedByEvent``.
    """

    ladder: Ladder
    timeframe: Timeframe
    drop_policy: DropPolicy = DropPolicy.BALANCE_BASED
    base_expires: bool = True
    update_assigns: bool = True

    def dates(self, level: int, at: datetime) -> Dates:
        """Return the dates of a level assigned at ``at``. Raises ``TierError`` for dates after the year 9999."""
        try:
            dates = self.timeframe.dates(at)
        except (ValueError, OverflowError):
            raise TierError(Message("expiry_beyond_calendar", moment=at.isoformat())) from None
        return dates if level or self.base_expires else Dates(None, dates.reset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The level, scores and dates of a member.

    ``level``
        The position on the ladder; 0 is the base.
    ``tier_score``, ``timeframe_score``
        The points earned in the tier and in the timeframe, from 0.
    ``in_maintenance``
        Whether a reset happened and neither a jump nor an expiry has followed.
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
    """One event and the membership before and after it.

    ``at`` is the date of the event. ``before`` is ``None`` if the member had no membership.
    """

    event: Event
    cause: Cause
    at: datetime
    before: Membership | None
    after: Membership


def start_membership(program: Program, at: datetime, cause: Cause = Cause.ENROLMENT) -> Change:
    """Return the change that puts a new member on the base level, with scores of 0."""
    return _arrive(program, None, Event.START, cause, 0, at)


def award(program: Program, membership: Membership, points: int, at: datetime) -> list[Change]:
    """Return the changes for an award of points at ``at``: first the changes that are due, then the award.

    Negative points are a correction. A correction lowers the scores, to at least 0, and never drops the member before
    the expiry. An award of 0 points is not an event. Raises ``TierError`` if the score would exceed ``MAX_POINTS``.
    """
    changes = list(due(program, membership, at))
    if points:
        changes.append(_score(program, _latest(membership, changes), points, at))
    return changes


def due(program: Program, membership: Membership, now: datetime) -> Iterator[Change]:
    """Yield the resets and expiries up to and including ``now``, in order.

    Each change has the date at which it was due. If the function is called years late, it yields one change for each
    missed date. If an edit of the program left a date that its timeframe no longer has, the date is ignored.
    """
    membership = replace(
        membership,
        expiration_date=membership.expiration_date if program.timeframe.expires else None,
        reset_date=membership.reset_date if program.timeframe.resets else None,
    )
    while (at := next_due(membership)) is not None and at <= now:
        # If both are due at the same instant, the expiry alone happens: it compares the scores before the reset, and
        # it resets them as well.
        apply = _expire if at == membership.expiration_date else _reset
        change = apply(program, membership, at)
        yield change
        membership = change.after


def next_due(membership: Membership) -> datetime | None:
    """Return the earlier of the expiry and the reset; ``None`` if there is neither."""
    return min((date for date in (membership.expiration_date, membership.reset_date) if date is not None), default=None)


def override(program: Program, membership: Membership | None, level: int, at: datetime) -> list[Change]:
    """Return the changes that put a member on a level by hand: first the changes that are due, then a jump or a drop.

    A member without a membership starts first. A drop sets the scores to 0, as a drop at expiry does; otherwise the
    next award would make the member jump back. Raises ``TierError`` if the member is on the level already.
    """
    if membership is None:
        changes = [start_membership(program, at, Cause.OVERRIDE)]
        membership = changes[0].after
    else:
        changes = list(due(program, membership, at))
    current = _latest(membership, changes)
    if level > current.level:
        changes.append(_arrive(program, current, Event.JUMP, Cause.OVERRIDE, level, at, current.timeframe_score))
    elif level < current.level:
        changes.append(_arrive(program, current, Event.DROP, Cause.OVERRIDE, level, at))
    elif not changes:
        raise TierError(Message("tier_same", tier=repr(program.ladder[level].title)))
    return changes


def reevaluate(program: Program, membership: Membership, now: datetime) -> list[Change]:
    """Return the changes that an edited program causes for a membership: first the changes that are due.

    If the score reaches a higher level, the member jumps. The member does not drop before the expiry. Otherwise, if the
    program's timeframe changed, an update removes the dates that the program no longer has and adds new dates, which
    count from ``now``.
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


def assigning_event(changes: Sequence[Change]) -> Event:
    """Return the assigning event after several changes made in one step.

    It is the last event other than an update, because an update must not hide a jump or a drop from the client.
    """
    events = [change.event for change in changes if change.event is not Event.UPDATE]
    return events[-1] if events else changes[-1].after.assigned_by_event


def _latest(membership: Membership, changes: Sequence[Change]) -> Membership:
    return changes[-1].after if changes else membership


def _score(program: Program, before: Membership, points: int, at: datetime) -> Change:
    timeframe_score = max(0, before.timeframe_score + points)
    if timeframe_score > MAX_POINTS:
        raise TierError(Message("score_limit", points=points, most=MAX_POINTS))
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
        # Points above the threshold already count for the new level.
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
        _with_scores_reset(before, Event.MAINTAIN, at),
        expiration_date=dates.expiration,
        reset_date=dates.reset,
        in_maintenance=False,
    )
    return Change(event=Event.MAINTAIN, cause=Cause.CLOCK, at=at, before=before, after=after)


def _reset(program: Program, before: Membership, at: datetime) -> Change:
    reset_date = program.dates(before.level, at).reset
    after = replace(_with_scores_reset(before, Event.RESET, at), reset_date=reset_date, in_maintenance=True)
    return Change(event=Event.RESET, cause=Cause.CLOCK, at=at, before=before, after=after)


def _with_scores_reset(before: Membership, event: Event, at: datetime) -> Membership:
    return replace(before, tier_score=0, timeframe_score=0, date_assigned=at, assigned_by_event=event)
