"""What a measurement is: sides that take turns, and rows that say how they compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bench:
    """What a measurement is asked for. ``quick`` only shows that it works.

    ``rows``
        How many rows, where the measurement has so many choices; ``None`` for its own.
    ``keep``
        Leave what took long to build, for the next run.
    """

    database: str
    rounds: int = 5
    quick: bool = False
    minutes: float = 60
    rows: int | None = None
    keep: bool = False

    def scaled(self, number: int, tiny: int) -> int:
        return tiny if self.quick else number


@dataclass(frozen=True)
class Row:
    """One line of the table: one thing measured on several sides, a value for each round.

    The ratio is that of the first side to the second, round by round; ``goal`` is what its median should be, such as
    ``≥ 0.75``.
    """

    what: str
    unit: str
    sides: dict[str, list[float]]
    goal: str = ""
    database: str = ""
    note: str = ""
    ratios: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.ratios and len(self.sides) > 1:
            first, second = list(self.sides.values())[:2]
            self.ratios.extend(a / b for a, b in zip(first, second, strict=True) if b)

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def rounds(self) -> int:
        """How many values each side has."""
        return min(map(len, self.sides.values()))

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if not self.goal or self.ratio is None:
            return ""
        sign, number = self.goal.split()[:2]
        met = self.ratio >= float(number) if sign == "≥" else self.ratio <= float(number)
        return "met" if met else "missed"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def alternate(sides: Mapping[str, Callable[[], Value]], rounds: int) -> dict[str, list[Value]]:
    """Run the sides in turn, each round beginning with another one, so that a slow minute hits them all."""
    values: dict[str, list[Value]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            values[name].append(sides[name]())
    return values
