"""Pure: what a receiver's record says about the promise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from .receiver import Accepted


@dataclass(frozen=True)
class Verdict:
    """What the record says about the promise.

    ``missing``
        Pairs whose newest accepted state is not the profile's.
    ``unequal``
        Pairs whose last accepted state is not the profile's.
    ``older_after_newer``
        Accepted out of order.
    ``duplicates``
        The same event accepted again, which a killed worker may cause.
    ``foreign_duplicates``
        One sequence under two event ids, which nothing may cause.
    """

    accepted: int
    missing: int
    older_after_newer: int
    duplicates: int
    foreign_duplicates: int
    unequal: int

    @property
    def is_kept(self) -> bool:
        """Whether nothing was lost and nothing came out of order."""
        return self.missing == self.older_after_newer == self.foreign_duplicates == 0


def judge(record: Iterable[Accepted], states: Mapping[int, str], endpoints: Collection[str]) -> Verdict:
    """Compare the order of the answers, and the last state accepted for each pair, with the profiles' states."""
    last: dict[tuple[str, int], str] = {}
    newest: dict[tuple[str, int], Accepted] = {}
    seen: dict[tuple[str, int, int], str] = {}
    accepted = older = duplicates = foreign = 0
    for item in record:
        accepted += 1
        pair = (item.endpoint, item.profile_id)
        last[pair] = item.state
        known = seen.setdefault((*pair, item.sequence), item.event_id)
        if known != item.event_id:
            foreign += 1
        before = newest.get(pair)
        if before is not None and item.sequence < before.sequence:
            older += 1
        elif before is not None and item.sequence == before.sequence:
            duplicates += 1
        else:
            newest[pair] = item
    missing = sum(
        1
        for endpoint in endpoints
        for profile_id, state in states.items()
        if (endpoint, profile_id) not in newest or newest[endpoint, profile_id].state != state
    )
    unequal = sum(
        last.get((endpoint, profile_id)) != state for endpoint in endpoints for profile_id, state in states.items()
    )
    return Verdict(accepted, missing, older, duplicates, foreign, unequal)
