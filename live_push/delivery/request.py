"""What a transport is given and must do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .result import Result


@dataclass(frozen=True)
class Request:
    """One POST. Nothing of it shows up in a traceback: the URL's query, the headers and the body hold secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str | bytes] = field(repr=False)
    body: bytes = field(repr=False)


class Transport(Protocol):
    """What the setting ``TRANSPORT`` names; one instance is shared by the threads of a worker."""

    def send(self, request: Request) -> Result:
        """Make one attempt; never raises."""

    def close(self) -> None:
        """Let go of idle connections."""
