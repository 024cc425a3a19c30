"""One attempt: send the request on a kept-alive connection, or else on a new one to a permitted address."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from live_push.delivery.conditions import Conditions
from live_push.delivery.dialling import MOST_TIMEOUTS
from live_push.delivery.no_answer import (
    connect_failed,
    exchange_failed,
    log_unexpected,
    refuse_if_late,
    result_of_error,
)
from live_push.delivery.request import Request
from live_push.delivery.resolver import Destination
from live_push.rules.result import Result

from .client import Client
from .libcurl import pycurl
from .transfer import Transfer


class CurlAttempt:
    """Runs an attempt in the thread of a loop, as a generator that yields when it waits."""

    def __init__(
        self, client: Client, request: Request, conditions: Conditions, done: Callable[[Result], None]
    ) -> None:
        self._client, self._loop = client, client.loop
        self._request, self._conditions, self._done = request, conditions, done
        self._started = monotonic()
        self._ends_at = self._started + conditions.total_seconds
        self._transfer: Transfer | None = None
        self._request_written = False
        self._wait = 0
        self._steps = self._run()

    def begin(self) -> None:
        """Run the first step."""
        self._go_on(self._steps.send, None)

    def fail(self, error: Exception) -> None:
        """End the attempt with this error."""
        self._go_on(self._steps.throw, error)

    def before_curl(self) -> None:
        """Stop writing the request if its deadline has passed."""
        transfer = self._transfer
        if transfer is None or transfer.request_written:
            self._loop.watched.discard(self)
        elif transfer.is_late():
            self._end_wait(self._wait, pycurl.E_ABORTED_BY_CALLBACK, "")

    def after_curl(self) -> None:
        """Let libcurl write a body that was held back, and stop an answer that is too long."""
        if self._transfer is not None:
            self._transfer.go_on()
            if self._transfer.is_overflowing:
                self._end_wait(self._wait, pycurl.E_WRITE_ERROR, "")

    def _go_on(self, step: Callable[[Any], None], value: Any) -> None:
        unexpected = ""
        try:
            step(value)
        except StopIteration as end:
            result: Result = end.value
        except Exception as error:  # noqa: BLE001  (an attempt must end in a result, whatever the libraries raise)
            result, unexpected = result_of_error(error)
        else:
            return
        self._loop.forget(self)
        # After the except block, because some log handlers record the handled exception and its local variables.
        log_unexpected(unexpected)
        duration_ms = round((monotonic() - self._started) * 1000)
        try:
            self._done(replace(result, duration_ms=duration_ms, request_written=self._request_written))
        except Exception as error:  # noqa: BLE001  (the other attempts must go on)
            log_unexpected(type(error).__qualname__)

    def _resumer(self) -> Callable[..., None]:
        """Return a function that ends the next wait and passes it a value. Only the first call has an effect."""
        self._wait += 1
        return partial(self._end_wait, self._wait)

    def _end_wait(self, wait: int, *value: Any) -> None:
        if wait == self._wait:
            self._wait += 1
            self._go_on(self._steps.send, value)

    def _run(self) -> Generator[None, Any, Result]:
        refuse_if_late(self._request.not_after)
        # A test push shows the certificate, which libcurl reports for new connections only. A request without a body
        # can't use a kept connection, because the connection is checked while the body is held back.
        if self._request.connection_info is None and self._request.body:
            reused = self._client.take_transfer()
            try:
                result = yield from self._send(reused)
            finally:
                self._client.give_back(reused)
            if result is not None:
                return result
        url = urlsplit(self._conditions.url)
        host, port = url.hostname or "", url.port or 443
        destinations = yield from self._look_up(host, port)
        connection, destination = yield from self._dial(destinations)
        new = Transfer(self._client.options)
        # After libcurl has taken over the socket, closing the connection object has no effect.
        with connection, closing(new.curl):
            new.use(connection, destination, host=host)
            result = yield from self._send(new)
        if result is None:
            raise RuntimeError
        return result

    def _send(self, transfer: Transfer) -> Generator[None, Any, Result | None]:
        """Return the result of the request, or ``None`` if it must be sent on a new connection."""
        seconds = self._ends_at - monotonic()
        if seconds <= 0:
            raise exchange_failed(TimeoutError())
        watch = partial(self._loop.watched.add, self)
        transfer.start(self._request, self._conditions, seconds, watch=watch, later=self._loop.call)
        self._transfer = transfer
        self._loop.add(transfer.curl, self._resumer())
        try:
            code, message = yield
        finally:
            self._transfer = None
            self._loop.watched.discard(self)
            self._loop.remove(transfer.curl)
            self._request_written |= transfer.request_written
        if self._request.connection_info is not None:
            self._request.connection_info.certificate = transfer.certificate()
        return None if transfer.wants_new_connection(code) else transfer.result(code, message)

    def _look_up(self, host: str, port: int) -> Generator[None, Any, list[Destination]]:
        refuse_if_late(self._request.not_after)
        answer = self._conditions.guard.begin(host, port)
        resume = self._resumer()
        self._loop.at(self._ends_at, resume)
        answer.add_done_callback(lambda _answer: self._loop.call(resume))
        yield
        return self._conditions.guard.checked(answer)

    def _dial(self, destinations: list[Destination]) -> Generator[None, Any, tuple[socket.socket, Destination]]:
        """Connect to the first address that answers, by the rules of :func:`live_push.delivery.dialling.dial`."""
        last_error: OSError = TimeoutError()
        timeouts = 0
        for destination in destinations:
            until = min(monotonic() + self._conditions.connect_seconds, self._ends_at)
            if until <= monotonic() or timeouts == MOST_TIMEOUTS:
                break
            refuse_if_late(self._request.not_after)
            try:
                connection = socket.socket(destination.family, socket.SOCK_STREAM)
            except OSError as error:
                # DNS may return IPv6 addresses to a machine without IPv6.
                last_error = error
                continue
            try:
                yield from self._connect(connection, destination, until)
            except OSError as error:
                last_error = error
                timeouts += isinstance(error, TimeoutError)
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return connection, destination
        raise connect_failed(last_error)

    def _connect(self, connection: socket.socket, destination: Destination, until: float) -> Generator[None, Any, None]:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.connect(destination.sockaddr)
            return
        resume = self._resumer()
        self._loop.at(until, partial(resume, True))
        self._loop.watch(connection, resume)
        try:
            is_late = yield
        finally:
            self._loop.unwatch(connection)
        if is_late:
            raise TimeoutError
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "")
