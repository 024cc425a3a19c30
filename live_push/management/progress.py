"""How long work shows that it goes on: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

from typing import Any

from django.core.management.base import OutputWrapper
from tqdm import tqdm


class Progress:
    """Counts towards a total; a context manager.

    On a terminal a bar with the time left; elsewhere a line at every tenth; silent at verbosity 0.
    """

    def __init__(self, total: int, what: str, *, stream: OutputWrapper, verbosity: int = 1) -> None:
        self.total, self.what, self.stream = total, what, stream
        self.done = 0
        self._tenth = 0
        self._quiet = verbosity == 0 or total == 0
        self._bar: Any = None
        if not self._quiet and stream.isatty():
            self._bar = tqdm(total=total, unit=f" {what}", file=_AsItIs(stream))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int, place: str = "") -> None:
        """So many more are done; ``place`` tells whoever finds the work killed how to go on from here."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix_str(place, refresh=False)
            self._bar.update(count)
        elif not self._quiet and self.done * 10 // self.total > self._tenth:
            self._tenth = self.done * 10 // self.total
            self.stream.write(f"{self.done:,} of {self.total:,} {self.what}" + (f" ({place})" if place else ""))


class _AsItIs:
    """A command's stderr as a bar needs it: Django would end each step of it with a new line and paint it red."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.write(text, style_func=str, ending="")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
