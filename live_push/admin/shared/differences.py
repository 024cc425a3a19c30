"""Compare two snapshots. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One key that differs.

    ``path``
        The key with those above it, such as ``tierInfo.currentLevel.title``.
    ``before``, ``after``
        ``None`` stands for null.
    ``was_there``, ``is_there``
        Distinguish null from a missing key. Keys can be missing in custom data.
    """

    path: str
    before: Any
    after: Any
    was_there: bool = True
    is_there: bool = True


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return the keys that differ, in the order of the newer snapshot. Keys that it lacks come last."""
    old, new = dict(_members(before)), dict(_members(after))
    changed = [
        Difference(path, old.get(path), value, was_there=path in old)
        for path, value in new.items()
        if path not in old or old[path] != value
    ]
    return changed + [Difference(path, value, None, is_there=False) for path, value in old.items() if path not in new]


def _members(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, member in value.items():
        if isinstance(member, dict) and member:
            yield from _members(member, f"{path}{key}.")
        else:
            yield f"{path}{key}", member
