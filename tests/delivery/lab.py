"""A small internet on this machine: real servers, a scripted resolver, and an observer outside the code under test."""

from __future__ import annotations

import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.test import override_settings

from live_push.delivery.fast import FastTransport
from live_push.delivery.request import Request, Transport
from live_push.delivery.transport import RequestsTransport
from live_push.rules.result import Result
from live_push.testing.https_server import EndpointServer
from tests.faults import TcpServer, tcp_server

# Linux answers on all of 127.0.0.0/8. What a test lets through plays the internet; the rest plays our own network.
OUTSIDE = "127.0.0.2"
INSIDE = "127.0.0.1"

KINDS = {"requests": RequestsTransport, "fast": FastTransport}
"""Our transports."""

EACH_TRANSPORT = pytest.mark.parametrize("lab", KINDS, indirect=True)
"""For tests of what any transport of ours must do."""

_observers: list[list[Any]] = []


def _observe(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        for observer in _observers:
            observer.append(arguments[1])


# Python itself reports every connection here, whatever library makes it. A hook can't be removed.
sys.addaudithook(_observe)


@contextmanager
def dialled() -> Iterator[list[tuple[Any, ...]]]:
    """The addresses that this process connects to meanwhile, in order."""
    addresses: list[tuple[Any, ...]] = []
    _observers.append(addresses)
    try:
        yield addresses
    finally:
        _observers.remove(addresses)


class Dns:
    """A scripted resolver: for each name its answers, one list for each lookup; the last one stays."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, list[list[str]]] = {}
        self._real = socket.getaddrinfo

    def answer(self, name: str, *lookups: list[str]) -> None:
        self._answers[name] = list(lookups)

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in self._answers:
            return list(self._real(host, port, *args, **kwargs))
        self.asked.append(host)
        lookups = self._answers[host]
        found = lookups.pop(0) if len(lookups) > 1 else lookups[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]


class OpenFirst(queue.LifoQueue[Any]):
    """A pool that hands out open connections first, as if other threads brought theirs back all the time."""

    def _get(self) -> Any:
        opened = [connection for connection in self.queue if connection and connection.sock]
        if not opened:
            return self.queue.pop()
        self.queue.remove(opened[-1])
        return opened[-1]


class Lab:
    """What a test of the transport works with; it cleans up after itself."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, transport: Transport) -> None:
        self.monkeypatch = monkeypatch
        self.dns = Dns()
        monkeypatch.setattr(socket, "getaddrinfo", self.dns)
        self.transport: Any = transport
        stack.callback(self._close)
        self._stack = stack
        self._settings: dict[str, Any] = {}

    def _close(self) -> None:
        self.transport.close()

    def configure(self, **keys: Any) -> None:
        """Change keys of ``LIVE_PUSH``."""
        self._settings |= keys
        self._stack.enter_context(override_settings(LIVE_PUSH=dict(self._settings)))

    def server(self, **options: Any) -> EndpointServer:
        """A running receiver that pushes may go to."""
        server = self._stack.enter_context(EndpointServer(**options))
        self.configure(**server.settings)
        return server

    def tcp(
        self,
        serve: Callable[[socket.socket, threading.Event], None] | None = None,
        *,
        host: str = INSIDE,
        port: int = 0,
    ) -> TcpServer:
        """A running server below TLS."""
        return self._stack.enter_context(tcp_server(serve, host=host, port=port))

    def send(
        self,
        url: str,
        body: bytes = b"{}",
        headers: dict[str, str | bytes] | None = None,
        *,
        not_after: float | None = None,
    ) -> Result:
        """One attempt."""
        return self.transport.send(Request(url, headers or {}, body, not_after=not_after))

    @property
    def adapter(self) -> Any:
        """The adapter that the transport works with now."""
        assert self.transport._adapter is not None
        return self.transport._adapter[1]

    def idle_connections(self) -> list[Any]:
        """The connections that wait for their next use, the next to be used last."""
        pools = self.adapter.poolmanager.pools
        return [connection for key in pools.keys() for connection in pools.get(key).pool.queue if connection]  # noqa: SIM118
