"""Reads the snippets of our own pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Snippet:
    """A fenced block; its title is the comment in its first line, if any, and says where it belongs."""

    title: str
    code: str


def snippets(page: str, language: str) -> list[Snippet]:
    """The blocks of a page in this language, in order."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [Snippet(_title(code), code) for code in blocks]


def _title(code: str) -> str:
    first = code.split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
