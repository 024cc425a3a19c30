"""The interface of transports: the request that they get, and what they must do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from live_push.rules.result import Result


@dataclass(frozen=True)
class Certificate:
    """The issuer of a server's certificate, as readable text, and when the certificate expires."""

    issuer: str
    expires_at: datetime


@dataclass
class ConnectionInfo:
    """What a transport reports about the connection, besides the result. Only test pushes ask for it.

    ``certificate``
        The certificate of the server, after it was verified. ``None`` if the attempt did not get that far, or if a
        transport of the host project does not report it.
    """

    certificate: Certificate | None = None


@dataclass(frozen=True)
class Request:
    """One POST request. Its ``repr`` shows nothing, because the URL, the headers and the body contain secrets.

    ``connection_info``
        If given, the transport stores there what it knows about the connection.
    ``not_after``
        The deadline of the start, in seconds of :func:`live_push.rules.local_clock.local_now`; ``None`` for no
        deadline. A transport compares it with the clock before each connect and each write, including the last one.
        After the deadline the transport sends nothing more and returns
        :attr:`~live_push.rules.result.ErrorCode.TOO_LATE`.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str | bytes] = field(repr=False)
    body: bytes = field(repr=False)
    connection_info: ConnectionInfo | None = field(default=None, repr=False, compare=False)
    not_after: float | None = field(default=None, compare=False)


class Transport(Protocol):
    """The interface of the class that the setting ``TRANSPORT`` names. The threads of a worker share one instance."""

    def send(self, request: Request) -> Result:
        """Make one attempt and return its result. Never raises."""

    def close(self) -> None:
        """Close idle connections."""


@runtime_checkable
class ThreadlessTransport(Transport, Protocol):
    """A transport that does not need a thread for each attempt."""

    def begin(self, request: Request, done: Callable[[Result], None]) -> None:
        """Start one attempt and return at once. Never raises. ``done`` is called once, in any thread."""
