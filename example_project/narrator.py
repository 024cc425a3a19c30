"""How the demo speaks: chapters, sentences, excerpts of JSON, and claims that are checked before they are made."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from django.core.management.base import OutputWrapper
from django.core.management.color import Style

WIDTH = 100


class StoryBroken(Exception):  # noqa: N818  (it names the fact)
    """Something did not happen as it was told."""


class Narrator:
    """Writes to a command's output; colours only where that command has them."""

    def __init__(self, out: OutputWrapper, style: Style) -> None:
        self._out, self._style = out, style
        # A terminal that lacks a sign shows a question mark, instead of ending the story.
        if reconfigure := getattr(out, "reconfigure", None):
            reconfigure(errors="replace")
        self._chapters = 0
        self._started = monotonic()
        self.checks = 0

    @property
    def seconds(self) -> float:
        """How long the story has lasted so far."""
        return monotonic() - self._started

    def chapter(self, title: str) -> None:
        """Begin a new part of the story."""
        self._chapters += 1
        self._out.write(self._style.MIGRATE_HEADING(f"\n{self._chapters}. {title}"))

    def say(self, text: str) -> None:
        """Tell something."""
        self._out.write(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   "))

    def show(self, data: Mapping[str, Any], *, only: Iterable[str] = ()) -> None:
        """Show JSON, or the members of it that ``only`` names, with an ellipsis where others are left out."""
        names = list(only) or list(data)
        text = json.dumps({name: data[name] for name in names}, indent=2, ensure_ascii=False)
        if len(names) < len(data):
            text = text.removesuffix("\n}") + f",\n  … and {len(data) - len(names)} more\n}}"
        self.lines(text.splitlines())

    def lines(self, lines: Iterable[str]) -> None:
        """Show lines as they are."""
        for line in lines:
            self._out.write(f"      {line}")

    def check(self, claim: str, holds: bool) -> None:
        """Claim something that is true. Raises :class:`StoryBroken` where it is not."""
        if not holds:
            self._out.write(self._style.ERROR(f"   ✗ {claim}"))
            raise StoryBroken(claim)
        self.checks += 1
        self._out.write(self._style.SUCCESS(f"   ✓ {claim}"))
