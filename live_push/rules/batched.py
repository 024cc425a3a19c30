"""Split long lists, so that no statement and no transaction grows with the length of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield consecutive slices of at most ``size`` items: ``[1, 2, 3]`` with size 2 gives ``[1, 2]`` and ``[3]``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
