"""Read ids that people type."""

from __future__ import annotations

MAX_DIGITS = 18
"""Maximum length of an id. Every number of 18 digits fits into a 64-bit column; a longer one may raise an error."""


def parse_id(text: str) -> int | None:
    """Return the id, such as 42 for ``"42"``; ``None`` for text that is not an id."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None
