"""``aiohttp``'s connections under our rules: judged and dialled by us, bounded in what they take in, told apart by age.

``aiohttp`` has no public seam below its own connector, so this hangs on the names that :func:`missing_seams` lists.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from urllib3.util import wait_for_read

from . import tls
from .address_guard import AddressGuard
from .conditions import MOST_AGE_SECONDS, MOST_IDLE_SECONDS
from .dialling import dial_async
from .http_answer import MOST_BODY_BYTES, MOST_HEADER_BYTES
from .no_answer import NoAnswer, while_dialling, while_looking_up, while_talking
from .request import Witness

MOST_BYTES: Final = MOST_HEADER_BYTES + 6 * MOST_BODY_BYTES
"""Of one answer, whatever they are: enough for a body of the longest kind in chunks of one byte each."""


@dataclass
class Attempt:
    """What a connection must know of the attempt that it serves.

    ``stage``
        What an error means now; at first, as on a connection that is kept: while talking.
    ``bytes_received``
        Of the answer.
    ``is_broken_off``
        Whether the end of its body is not its end.
    """

    guard: AddressGuard
    connect_seconds: float
    total_seconds: float
    header_names: frozenset[str]
    witness: Witness | None = None
    stage: Callable[[OSError], NoAnswer] = while_talking
    bytes_received: int = 0
    is_broken_off: bool = False


attempt: ContextVar[Attempt] = ContextVar("live_push_async_attempt")


class GuardedConnector(aiohttp.BaseConnector):
    """Connections to judged addresses, all encrypted and verified by one context."""

    allowed_protocol_schema_set = frozenset({"https"})

    def __init__(self, guard: AddressGuard, context: ssl.SSLContext) -> None:
        # How many there are is for the pipeline to say, which knows each endpoint's cap.
        super().__init__(limit=0, keepalive_timeout=MOST_IDLE_SECONDS)
        self._guard, self._context = guard, context

    async def _create_connection(self, req: aiohttp.ClientRequest, traces: Any, timeout: Any) -> ResponseHandler:
        now = attempt.get()
        host, port = req.host, req.port or 443
        now.stage = while_looking_up
        destinations = await self._guard.resolve_async(host, port)
        now.stage = while_dialling
        dialled = await dial_async(destinations, connect_seconds=now.connect_seconds)
        now.stage = while_talking
        try:
            _, handler = await self._loop.create_connection(
                lambda: GuardedHandler(self._loop),
                sock=dialled,
                ssl=self._context,
                server_hostname=host,
                # The attempt's own time ends first.
                ssl_handshake_timeout=now.total_seconds + 1,
            )
        except OSError as error:
            raise now.stage(error) from None
        return handler


class GuardedHandler(ResponseHandler):
    """One connection: takes in so much for an answer, and serves again only while it is sure to be of use."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._made_at = loop.time()
        self._attempt: Attempt | None = None
        self._is_in_body = False

    def set_response_params(self, **options: Any) -> None:
        """An attempt begins."""
        self._attempt, self._is_in_body = attempt.get(), False
        if self._attempt.witness is not None and self.transport is not None:
            self._attempt.witness.certificate = tls.certificate_of(self.transport.get_extra_info("ssl_object"))
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Some of the answer is there; nothing, where what is there already may be read on."""
        if self._attempt is not None:
            self._attempt.bytes_received += len(data)
            if self._attempt.bytes_received > MOST_BYTES:
                self._break_off()
                return
        # Line by line up to the end of the header block: a fault behind it, in the same packet, must not take it along.
        while data and self._is_within_header_block():
            line, newline, data = data.partition(b"\n")
            super().data_received(line + newline)
        if not self._exception:
            super().data_received(data)
        if self._exception:
            self._break_off()

    def _break_off(self) -> None:
        body, now = self._payload, self._attempt
        self.force_close()
        self.abort()
        if body is not None and now is not None:
            # aiohttp would let it wait until its time is up. An error would take along what has come.
            now.is_broken_off = True
            body.feed_eof()

    def _is_within_header_block(self) -> bool:
        if self._buffer:
            (answer, _body), _size = self._buffer[-1]
            self._is_in_body = answer.code >= 200
        return not (self._is_in_body or self._exception)

    def is_connected(self) -> bool:
        """Whether the connection serves for one more request; aiohttp asks before each."""
        # Bytes that nobody asked for would pass for the next answer: those that were read, and those that wait.
        return super().is_connected() and not self.should_close and not self._something_waits()

    def _something_waits(self) -> bool:
        connection = self.transport and self.transport.get_extra_info("socket")
        return bool(connection and wait_for_read(connection, timeout=0))

    @property
    def should_close(self) -> bool:
        """Whether this was its last request."""
        return super().should_close or self._loop.time() - self._made_at > MOST_AGE_SECONDS

    def close(self) -> None:
        """Hang up, without waiting for the other side's goodbye."""
        self.abort()


class GuardedRequest(aiohttp.ClientRequest):
    """A request with the headers that it was given; what instruments of this process add tells clients of us."""

    def update_headers(self, headers: Any) -> None:
        """Set the headers."""
        names = attempt.get().header_names
        super().update_headers({name: value for name, value in headers.items() if name.lower() in names})


def missing_seams() -> list[str]:
    """Names that this module hangs on and that the installed aiohttp lacks; empty where all is well."""
    seams: dict[type, tuple[str, ...]] = {
        aiohttp.BaseConnector: ("_create_connection",),
        ResponseHandler: ("abort", "data_received", "is_connected", "set_response_params", "should_close"),
        aiohttp.ClientRequest: ("host", "port", "update_headers"),
    }
    return [
        f"{owner.__qualname__}.{name}" for owner, names in seams.items() for name in names if not hasattr(owner, name)
    ]
