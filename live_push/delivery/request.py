"""What a transport is given and must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from .result import Result


@dataclass(frozen=True)
class Certificate:
    """What is told of a server's certificate: who issued it, as readable text, and until when it is valid."""

    issuer: str
    expires_at: datetime


@dataclass
class Witness:
    """Stands by while a request is sent, and keeps what its result does not tell; only a test push has one.

    ``certificate``
        That of the connection, once it is encrypted and judged; ``None`` where it came to nothing, and where a host's
        own transport does not tell.
    """

    certificate: Certificate | None = None


@dataclass(frozen=True)
class Request:
    """One POST. Nothing of it shows up in a traceback: the URL's query, the headers and the body hold secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str | bytes] = field(repr=False)
    body: bytes = field(repr=False)
    witness: Witness | None = field(default=None, repr=False, compare=False)


class Transport(Protocol):
    """What the setting ``TRANSPORT`` names; one instance is shared by the threads of a worker."""

    def send(self, request: Request) -> Result:
        """Make one attempt; never raises."""

    def close(self) -> None:
        """Let go of idle connections."""


@runtime_checkable
class ThreadlessTransport(Transport, Protocol):
    """A transport that needs no thread for each attempt: many may be under way at once."""

    def begin(self, request: Request, done: Callable[[Result], None]) -> None:
        """Begin one attempt and return at once; never raises. ``done`` is called once, in whatever thread."""
