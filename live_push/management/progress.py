"""Show the progress of long work on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from django.core.management.base import OutputWrapper
from tqdm import tqdm


class Progress:
    """A context manager that shows how much of the work is done.

    On a terminal it shows a bar with the remaining time, elsewhere one line for every tenth of the work. It shows
    nothing at verbosity 0. ``unit`` names what is counted, such as ``profiles``.
    """

    def __init__(self, total: int, unit: str, *, stream: OutputWrapper, verbosity: int = 1) -> None:
        self.total, self.unit, self.stream = total, unit, stream
        self.done = 0
        self._tenth = 0
        self._quiet = verbosity == 0 or total == 0
        self._bar: Any = None
        if not self._quiet and stream.isatty():
            self._bar = tqdm(total=total, unit=f" {unit}", file=_PlainStream(stream))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int, place: str = "") -> None:
        """Advance by ``count``. ``place`` says where to resume if the command is killed, such as ``--after 42``."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix_str(place, refresh=False)
            self._bar.update(count)
        elif not self._quiet and self.done * 10 // self.total > self._tenth:
            self._tenth = self.done * 10 // self.total
            self.stream.write(f"{self.done:,} of {self.total:,} {self.unit}" + (f" ({place})" if place else ""))


class _PlainStream:
    """The stderr of a command for the bar: Django would end each write with a line break and color it red."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.write(text, style_func=str, ending="")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
