"""The ladder of a tier program: contiguous, inclusive ranges of whole points, open at both ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from live_push.exceptions import TierError


class Rung(Protocol):
    """What the ladder rule reads of a tier: a level or a row."""

    @property
    def title(self) -> str: ...
    @property
    def min_value(self) -> int | None: ...
    @property
    def max_value(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One tier as the rules see it; bounds are inclusive points, ``None`` is open.

    ``maintain_score`` is the timeframe score that keeps the tier at its expiry; ``None`` means its ``min_value``.
    """

    title: str
    min_value: int | None
    max_value: int | None
    maintain_score: int | None = None

    @property
    def threshold(self) -> int:
        """The timeframe score that reaches this level."""
        return self.min_value or 0

    @property
    def maintain_threshold(self) -> int:
        """The timeframe score that keeps this level when it expires."""
        return self.threshold if self.maintain_score is None else self.maintain_score


@dataclass(frozen=True, slots=True)
class Ladder:
    """The levels of a program from base to top. Raises ``TierError`` where they are no ladder."""

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if problem := ladder_problem(self.levels):
            raise TierError(problem)

    def __getitem__(self, position: int) -> Level:
        return self.levels[position]

    def __len__(self) -> int:
        return len(self.levels)

    def reached_by(self, score: int) -> int:
        """Position of the highest level that the timeframe score reaches; 0 is the base."""
        return max(position for position, level in enumerate(self.levels) if position == 0 or level.threshold <= score)


AnyRung = TypeVar("AnyRung", bound=Rung)


def from_base_to_top(rungs: Iterable[AnyRung]) -> list[AnyRung]:
    """The same tiers, the base first."""
    return sorted(rungs, key=lambda rung: -1 if rung.min_value is None else rung.min_value)


def ladder_problem(rungs: Iterable[Rung]) -> str | None:
    """A sentence about the lowest fault of a ladder, given in any order, naming the tiers; ``None`` for none."""
    ladder = from_base_to_top(rungs)
    if not ladder:
        return "A program needs at least one tier."
    for rung in ladder:
        if rung.max_value is not None and rung.max_value < (rung.min_value or 0):
            return f"{rung.title!r} ends at {rung.max_value}, before it begins."
    base, top = ladder[0], ladder[-1]
    if base.min_value is not None:
        return f"The base tier {base.title!r} must have no minimum; found {base.min_value}."
    for lower, upper in pairwise(ladder):
        if problem := _step_problem(lower, upper):
            return problem
    if top.max_value is not None:
        return f"The top tier {top.title!r} must have no maximum; found {top.max_value}."
    return None


def place_problem(rung: Rung, others: Iterable[Rung], *, is_new: bool) -> str | None:
    """A sentence about a tier beside the others of its program: an overlap, and of a new one a gap, too.

    The rest shows in the whole ladder only: built or edited rung by rung it has no top for a while, or a gap.
    """
    for lower, upper in pairwise(from_base_to_top([*others, rung])):
        if lower is rung or upper is rung:
            problem = _step_problem(lower, upper)
            if problem and (is_new or not _is_gap(lower, upper)):
                return problem
    return None


def _is_gap(lower: Rung, upper: Rung) -> bool:
    return lower.max_value is not None and upper.min_value is not None and upper.min_value > lower.max_value + 1


def _step_problem(lower: Rung, upper: Rung) -> str | None:
    if upper.min_value is None:
        return f"{lower.title!r} and {upper.title!r} both have no minimum; only the base tier has none."
    if lower.max_value is None:
        return f"{lower.title!r} has no maximum although {upper.title!r} is above it; only the top tier has none."
    if upper.min_value <= lower.max_value:
        return f"{lower.title!r} up to {lower.max_value} and {upper.title!r} from {upper.min_value} overlap."
    if _is_gap(lower, upper):
        return (
            f"Between {lower.title!r} up to {lower.max_value} and {upper.title!r} from {upper.min_value} is a gap; "
            f"{upper.title!r} must begin at {lower.max_value + 1}."
        )
    return None
