"""Name lookups that end in time: ``getaddrinfo()`` itself knows no timeout."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, Final, NamedTuple


class Destination(NamedTuple):
    """One answer of the resolver, as ``socket`` and ``connect`` want it."""

    family: int
    sockaddr: tuple[Any, ...]


MOST_LOOKUPS: Final = 64


class Resolver:
    """Looks names up in threads of its own, one for each name.

    Whoever asks for a name that is being looked up waits for the same answer. So a client whose DNS never answers
    holds one thread, however many of its deliveries are due, and takes none away from other clients. The threads are
    daemons: a lookup that hangs must not keep a worker from exiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[Destination]]] = {}

    def lookup(self, host: str, port: int, seconds: float) -> list[Destination]:
        """All addresses of the host, in the resolver's order.

        Raises :class:`TimeoutError` where they don't come within ``seconds``, and what :meth:`begin` and its answer
        raise.
        """
        return self.begin(host, port).result(timeout=seconds)

    def begin(self, host: str, port: int) -> Future[list[Destination]]:
        """The answer to come, which others may wait for too.

        Raises :class:`TimeoutError` where too many lookups hang already; the answer raises what ``getaddrinfo()``
        does: :class:`OSError` or, for a name that it can't encode, :class:`UnicodeError`.
        """
        with self._lock:
            answer = self._under_way.get((host, port))
            if answer is None:
                if len(self._under_way) >= MOST_LOOKUPS:
                    raise TimeoutError
                answer = Future()
                thread = threading.Thread(target=self._run, args=(host, port, answer), daemon=True)
                thread.start()
                self._under_way[host, port] = answer
        return answer

    def _run(self, host: str, port: int, answer: Future[list[Destination]]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except BaseException as error:  # noqa: BLE001  (raised again where the answer is awaited)
            self._forget(host, port)
            answer.set_exception(error)
        else:
            self._forget(host, port)
            answer.set_result([Destination(family, sockaddr) for family, _, _, _, sockaddr in found])

    def _forget(self, host: str, port: int) -> None:
        # Before the answer is handed out: an answer must not be given to anyone who asks later.
        with self._lock:
            del self._under_way[host, port]


@lru_cache(maxsize=1)
def _resolver_of(_pid: int) -> Resolver:
    return Resolver()


def resolver() -> Resolver:
    """The resolver of this process. Threads and locks don't survive a fork, so a child has its own."""
    return _resolver_of(os.getpid())
