"""A transport on ``aiohttp``: one thread for all attempts, however many are under way. An extra, ``live-push[fast]``.

The same rules as :mod:`live_push.delivery.transport`, and it passes the same tests. It is stricter in two things: a
header block that is not well-formed HTTP is no answer, where ``http.client`` forgives much, and headers are ASCII.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final

import aiohttp
from yarl import URL

from .address_guard import AddressGuard
from .aiohttp_connection import Attempt, GuardedConnector, GuardedRequest, attempt, missing_seams
from .conditions import HEADERS_OF_HTTP, Conditions, conditions
from .http_answer import MOST_BODY_BYTES, MOST_HEADER_BYTES
from .no_answer import NoAnswer, log_unforeseen, told, while_talking
from .request import Request
from .result import ErrorCode, Result

__all__ = ["AiohttpTransport", "missing_seams"]

LARGE_BODY_BYTES: Final = 2**20
"""Larger ones are handed to the network bit by bit, so that others need not wait."""

CLOSING_SECONDS: Final = 1.0

Done = Callable[[Result], None]


class AiohttpTransport:
    """Sends with ``aiohttp``. Connections are kept alive and shared by all attempts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: _Client | None = None

    def send(self, request: Request) -> Result:
        """Make one attempt within the total time; never raises."""
        answer: SimpleQueue[Result] = SimpleQueue()
        self.begin(request, answer.put)
        return answer.get()

    def begin(self, request: Request, done: Done) -> None:
        """Begin one attempt and return at once; never raises."""
        started = monotonic()
        try:
            # In the caller's thread, so that its settings count.
            now = conditions(request.url)
            with self._lock:
                self._running().begin(request, now, started, done)
        except Exception as error:  # noqa: BLE001  (as in the attempt itself)
            result, fault = told(error)
        else:
            return
        log_unforeseen(fault)
        done(replace(result, duration_ms=_ms_since(started)))

    def close(self) -> None:
        """Close idle connections; attempts under way go on. The transport stays usable."""
        with self._lock:
            if self._client is not None and self._client.pid == os.getpid():
                self._client.retire()
            self._client = None

    def _running(self) -> _Client:
        # Threads don't survive a fork.
        if self._client is None or self._client.pid != os.getpid():
            self._client = _Client()
        return self._client


class _Client:
    """An event loop in a thread, and what lives in it; ends once it is retired and nothing is under way."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_say_kind)
        self._sessions: dict[tuple[AddressGuard, ssl.SSLContext], aiohttp.ClientSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_retired = False
        self._thread = threading.Thread(target=self._run, name="live_push-aiohttp", daemon=True)
        self._thread.start()

    def begin(self, request: Request, now: Conditions, started: float, done: Done) -> None:
        self._loop.call_soon_threadsafe(self._start, self._attempt(request, now, started, done))

    def retire(self) -> None:
        self._loop.call_soon_threadsafe(self._retire)
        # So that its connections are closed when the caller goes on, where nothing is under way.
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._close_sessions())
        self._loop.close()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._stop_if_over()

    def _retire(self) -> None:
        self._is_retired = True
        self._stop_if_over()

    def _stop_if_over(self) -> None:
        if self._is_retired and not self._tasks:
            self._loop.stop()

    async def _close_sessions(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def _attempt(self, request: Request, now: Conditions, started: float, done: Done) -> None:
        fault = ""
        try:
            result = await _post(self._session(now), request, now, started)
        except Exception as error:  # noqa: BLE001  (an attempt must end in a result, whatever the libraries raise)
            result, fault = told(error)
        # Not while the error is in sight, because there are log handlers that show local variables.
        log_unforeseen(fault)
        done(replace(result, duration_ms=_ms_since(started)))

    def _session(self, now: Conditions) -> aiohttp.ClientSession:
        # A connection was judged by one guard and verified by one context.
        key = now.guard, now.context
        if key not in self._sessions:
            self._sessions[key] = aiohttp.ClientSession(
                connector=GuardedConnector(*key),
                request_class=GuardedRequest,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
                skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
                auto_decompress=False,
                trust_env=False,
                max_line_size=MOST_HEADER_BYTES,
                max_field_size=MOST_HEADER_BYTES,
            )
        return self._sessions[key]


async def _post(session: aiohttp.ClientSession, request: Request, now: Conditions, started: float) -> Result:
    names = HEADERS_OF_HTTP | {name.lower() for name in request.headers}
    this = Attempt(now.guard, now.connect_seconds, now.total_seconds, names, request.witness)
    attempt.set(this)
    answer: aiohttp.ClientResponse | None = None
    body, complete = bytearray(), False
    seconds_left = now.total_seconds - (monotonic() - started)
    try:
        async with asyncio.timeout(seconds_left):
            answer = await session.post(
                URL(now.url, encoded=True),
                data=request.body if len(request.body) < LARGE_BODY_BYTES else io.BytesIO(request.body),
                headers=_headers(request),
                allow_redirects=False,
            )
            _check(answer)
            # The status is known; whatever the body does, it is only incomplete.
            with suppress(Exception):
                complete = await _read(answer.content, body) and not this.is_broken_off
    except TimeoutError:
        if answer is None:
            raise this.stage(TimeoutError()) from None
    except aiohttp.ClientError as error:
        raise _no_answer(error, this) from None
    finally:
        if answer is not None and not complete:
            answer.close()
    return Result(
        answer.status,
        body=bytes(body[:MOST_BODY_BYTES]),
        body_complete=complete,
        retry_after=answer.headers.get("Retry-After"),
    )


def _headers(request: Request) -> dict[str, str]:
    headers = {"Content-Length": str(len(request.body)), "Accept-Encoding": "identity"}
    for name, value in request.headers.items():
        if name.lower() not in HEADERS_OF_HTTP:
            headers[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    if not "".join(headers.values()).isascii():
        # It would send UTF-8 where HTTP has Latin-1, and the client would read something else.
        sentence = "An extra header has letters beyond ASCII, which this transport can't send."
        raise NoAnswer(ErrorCode.MISCONFIGURED, sentence)
    return headers


def _check(answer: aiohttp.ClientResponse) -> None:
    """Raise unless this is an answer: of a final status, in a header block of bounded size."""
    size = sum(len(name) + len(value) + 4 for name, value in answer.raw_headers)
    if not 200 <= answer.status <= 999 or size > MOST_HEADER_BYTES:
        answer.close()
        raise while_talking(ValueError())


async def _read(content: aiohttp.StreamReader, body: bytearray) -> bool:
    """Read the body up to the limit; whether that is all of it."""
    while len(body) <= MOST_BODY_BYTES:
        data = await content.readany()
        if not data:
            return True
        body += data
    return False


def _no_answer(error: aiohttp.ClientError, this: Attempt) -> NoAnswer:
    if isinstance(error.__cause__, ssl.SSLError):
        return while_talking(error.__cause__)
    # Where the connection ends within the header block, what came of it was no HTTP.
    is_cut = isinstance(error, aiohttp.ServerDisconnectedError) and this.bytes_received
    return while_talking(OSError() if isinstance(error, aiohttp.ClientConnectionError) and not is_cut else ValueError())


def _ms_since(started: float) -> int:
    return round((monotonic() - started) * 1000)


def _say_kind(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in the loop by its kind alone: the rest may quote a URL."""
    log_unforeseen(type(context.get("exception")).__qualname__)
