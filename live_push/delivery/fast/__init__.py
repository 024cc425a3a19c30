"""The fast transport, on libcurl: one thread for all attempts in flight. It needs the extra ``live-push[fast]``.

It follows the same rules as :mod:`live_push.delivery.transport` and passes the same tests. A
:class:`~.loop.Loop` runs the thread, a :class:`~.client.Client` has what its attempts share, a
:class:`~.attempt.CurlAttempt` is one attempt, and a :class:`~.transfer.Transfer` is one request on one connection.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic
from typing import Final
from weakref import WeakSet

from live_push.delivery.conditions import Conditions, current_conditions
from live_push.delivery.no_answer import log_unexpected, result_of_error
from live_push.delivery.request import Request
from live_push.rules.result import Result

from .attempt import CurlAttempt
from .client import Client
from .libcurl import pycurl

__all__ = ["FastTransport", "missing_seams"]

CLOSING_SECONDS: Final = 1.0
OLDEST_LIBCURL: Final = 0x081700
"""8.23.0. Older versions were not tested."""

Done = Callable[[Result], None]


class FastTransport:
    """Sends with libcurl. All attempts share the kept-alive connections."""

    def __init__(self) -> None:
        self._start_over()
        _transports.add(self)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._client: tuple[tuple[object, ...], Client] | None = None

    def send(self, request: Request) -> Result:
        """Make one attempt within the total time and return its result. Never raises."""
        answer: SimpleQueue[Result] = SimpleQueue()
        self.begin(request, answer.put)
        return answer.get()

    def begin(self, request: Request, done: Done) -> None:
        """Start one attempt and return at once. Never raises. ``done`` is called once, in any thread."""
        started = monotonic()
        try:
            # In the thread of the caller, so that settings overridden there apply.
            conditions = current_conditions(request.url)
            with self._lock:
                client = self._client_for(conditions)
                client.loop.begin(CurlAttempt(client, request, conditions, done))
        except Exception as error:  # noqa: BLE001  (as in the attempt itself)
            result, unexpected = result_of_error(error)
        else:
            return
        # After the except block, because some log handlers record the handled exception and its local variables.
        log_unexpected(unexpected)
        done(replace(result, duration_ms=round((monotonic() - started) * 1000)))

    def close(self) -> None:
        """Close idle connections. Attempts in flight continue. The transport stays usable."""
        with self._lock:
            current, self._client = self._client, None
        if current is not None:
            current[1].loop.retire(CLOSING_SECONDS)

    def _client_for(self, conditions: Conditions) -> Client:
        key = (conditions.guard, conditions.context)
        current = self._client
        if current is not None:
            if current[0] == key and not current[1].loop.has_ended:
                return current[1]
            current[1].loop.retire(0)
        client = Client(conditions)
        self._client = key, client
        return client


_transports: WeakSet[FastTransport] = WeakSet()


def _start_over_in_a_child() -> None:
    """Reset all transports after a fork, because threads and locks don't survive it."""
    for transport in _transports:
        transport._start_over()  # noqa: SLF001  (of the same module)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_in_a_child)


def missing_seams() -> list[str]:
    """Return what this transport needs and the installed pycurl lacks."""
    names = ["INFOTYPE_DATA_IN", "PREREQFUNCTION", "RESOLVER_START_FUNCTION", "SSLOPT_NO_PARTIALCHAIN"]
    missing = [f"pycurl.{name}" for name in names if not hasattr(pycurl, name)]
    # A pycurl that was built from source uses the libcurl of the system.
    _, version, number, _, _, backend, *_ = pycurl.version_info()
    if number < OLDEST_LIBCURL:
        missing.append(f"libcurl 8.23 (it is {version})")
    if not backend.startswith("OpenSSL"):
        missing.append(f"OpenSSL (it has {backend})")
    return missing
