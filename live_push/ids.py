"""Ids as people type them."""

from __future__ import annotations

MOST_DIGITS = 18
"""As many as fit into a column of ids; more would be an error of the database, or of ``int()`` itself."""


def as_id(text: str) -> int | None:
    """The id that a text spells; ``None`` where it spells none."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None
