"""The ladder of a tier program: the score ranges of its tiers.

The ranges are whole points with inclusive bounds, and each tier begins one point above the tier below it. The base tier
has no minimum, the top tier has no maximum. Example: Bronze up to 999, Silver 1000 to 4999, Gold from 5000.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from live_push.exceptions import TierError
from live_push.rules.messages import Message


class Rung(Protocol):
    """The attributes of a tier that the ladder rules read. Both :class:`Level` and the model ``Tier`` have them."""

    @property
    def title(self) -> str: ...
    @property
    def min_value(self) -> int | None: ...
    @property
    def max_value(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One tier, as the rules use it.

    ``min_value``, ``max_value``
        The inclusive bounds in points; ``None`` for no bound.
    ``maintain_score``
        The timeframe score that keeps the tier at its expiry; ``None`` means ``min_value``.
    """

    title: str
    min_value: int | None
    max_value: int | None
    maintain_score: int | None = None

    @property
    def threshold(self) -> int:
        """Return the timeframe score that reaches this level; 0 for the base."""
        return self.min_value or 0

    @property
    def maintain_threshold(self) -> int:
        """Return the timeframe score that keeps this level at its expiry."""
        return self.threshold if self.maintain_score is None else self.maintain_score


@dataclass(frozen=True, slots=True)
class Ladder:
    """The levels of a program, from base to top. Raises ``TierError`` if they have a gap, an overlap or wrong ends."""

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if problem := ladder_problem(self.levels):
            raise TierError(problem)

    def __getitem__(self, position: int) -> Level:
        return self.levels[position]

    def __len__(self) -> int:
        return len(self.levels)

    def reached_by(self, score: int) -> int:
        """Return the position of the highest level that the timeframe score reaches; 0 is the base."""
        return max(position for position, level in enumerate(self.levels) if position == 0 or level.threshold <= score)


AnyRung = TypeVar("AnyRung", bound=Rung)


def from_base_to_top(rungs: Iterable[AnyRung]) -> list[AnyRung]:
    """Return the tiers sorted by their minimum, the base first."""
    return sorted(rungs, key=lambda rung: -1 if rung.min_value is None else rung.min_value)


def ladder_problem(rungs: Iterable[Rung]) -> Message | None:
    """Return a sentence about the first fault of a ladder, from the base up, or ``None`` for a correct ladder.

    The tiers may be in any order. The sentence names the tiers: "'Bronze' up to 999 and 'Silver' from 900 overlap."
    """
    ladder = from_base_to_top(rungs)
    if not ladder:
        return Message("ladder_empty")
    for rung in ladder:
        if rung.max_value is not None and rung.max_value < (rung.min_value or 0):
            return Message("tier_range", tier=repr(rung.title), most=rung.max_value)
    base, top = ladder[0], ladder[-1]
    if base.min_value is not None:
        return Message("base_minimum", tier=repr(base.title), least=base.min_value)
    for lower, upper in pairwise(ladder):
        if problem := _step_problem(lower, upper):
            return problem
    if top.max_value is not None:
        return Message("top_maximum", tier=repr(top.title), most=top.max_value)
    return None


def place_problem(rung: Rung, others: Iterable[Rung], *, is_new: bool) -> Message | None:
    """Return a sentence about a fault in the range of one tier, compared with the other tiers of its program.

    Returns ``None`` for no fault. An overlap is always a fault. A gap is a fault only for a new tier: an edit of a
    ladder changes one tier after the other, so a ladder may have a gap, or no top, until the edit is complete.
    """
    for lower, upper in pairwise(from_base_to_top([*others, rung])):
        if lower is rung or upper is rung:
            problem = _step_problem(lower, upper)
            if problem and (is_new or not _is_gap(lower, upper)):
                return problem
    return None


def _is_gap(lower: Rung, upper: Rung) -> bool:
    return lower.max_value is not None and upper.min_value is not None and upper.min_value > lower.max_value + 1


def _step_problem(lower: Rung, upper: Rung) -> Message | None:
    below, above = repr(lower.title), repr(upper.title)
    if upper.min_value is None:
        return Message("two_bases", lower=below, upper=above)
    if lower.max_value is None:
        return Message("no_maximum", lower=below, upper=above)
    end, begin = lower.max_value, upper.min_value
    if begin <= end:
        return Message("tiers_overlap", lower=below, upper=above, end=end, begin=begin)
    if _is_gap(lower, upper):
        return Message("tiers_gap", lower=below, upper=above, end=end, begin=begin, expected=end + 1)
    return None
