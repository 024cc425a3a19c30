"""Look up names in threads, because ``getaddrinfo()`` blocks and has no timeout."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, Final, NamedTuple


class Destination(NamedTuple):
    """One address of a host: the arguments for ``socket.socket()`` and ``connect()``."""

    family: int
    sockaddr: tuple[Any, ...]


MAX_LOOKUPS: Final = 64
"""The maximum number of lookups, and thus of threads, at the same time."""


class Resolver:
    """Looks names up in its own threads.

    Concurrent lookups of the same name share one thread and its answer. So if the DNS of a client never answers, one
    thread waits for it, no matter how many deliveries are due, and other clients are not affected. The threads are
    daemon threads, because a pending lookup must not keep a worker from exiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[list[Destination]]] = {}

    def begin(self, host: str, port: int) -> Future[list[Destination]]:
        """Start a lookup, or join a pending one, and return the future of its answer.

        Wait for the future with a timeout. Its answer has all addresses of the host, in the order of ``getaddrinfo()``.
        It raises the errors of ``getaddrinfo()``: :class:`OSError`, and :class:`UnicodeError` for a name that can't be
        encoded.

        Raises :class:`TimeoutError` if too many lookups are pending.
        """
        with self._lock:
            answer = self._pending.get((host, port))
            if answer is None:
                if len(self._pending) >= MAX_LOOKUPS:
                    raise TimeoutError
                answer = Future()
                thread = threading.Thread(target=self._run, args=(host, port, answer), daemon=True)
                thread.start()
                self._pending[host, port] = answer
        return answer

    def _run(self, host: str, port: int, answer: Future[list[Destination]]) -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except BaseException as error:  # noqa: BLE001  (the future raises it again)
            self._remove(host, port)
            answer.set_exception(error)
        else:
            self._remove(host, port)
            answer.set_result([Destination(family, sockaddr) for family, _, _, _, sockaddr in addresses])

    def _remove(self, host: str, port: int) -> None:
        # Called before the future is completed, because a later lookup must not get an old answer.
        with self._lock:
            del self._pending[host, port]


@lru_cache(maxsize=1)
def _resolver_of(_pid: int) -> Resolver:
    return Resolver()


def resolver() -> Resolver:
    """Return the resolver of this process. Threads and locks don't survive a fork, so a child process has its own."""
    return _resolver_of(os.getpid())
