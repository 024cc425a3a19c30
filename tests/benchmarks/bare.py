"""The same requests without a database: what a client library can do on this machine, with so many in flight.

``python -m tests.benchmarks.bare KIND URL NUMBER IN_FLIGHT`` prints the CPU seconds that the requests took.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from live_push.contract import encoding, sample


def bodies(members: Iterable[int]) -> list[tuple[bytes, dict[str, str]]]:
    snapshot = sample.sample()
    return [
        (
            encoding.encode({**snapshot, "id": member}),
            {"Content-Type": "application/json", "webhook-id": str(uuid.uuid4()), "User-Agent": "bare"},
        )
        for member in members
    ]


def by_transport(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    """live_push's own client on ``requests``, guard and deadline included."""
    from live_push.delivery.transport import Request, RequestsTransport

    transport = RequestsTransport()
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda entry: transport.send(Request(url, entry[1], entry[0])), requests))


def by_fast_transport(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    """live_push's own client on libcurl, guard and deadline included."""
    from live_push.delivery.fast import FastTransport
    from live_push.delivery.request import Request

    transport = FastTransport()
    places = threading.Semaphore(in_flight)
    for body, headers in requests:
        places.acquire()
        transport.begin(Request(url, headers, body), lambda _result: places.release())
    for _ in range(in_flight):
        places.acquire()


def by_session(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    """``requests.Session().post`` as usually written."""
    import requests as library

    session = library.Session()
    session.mount("https://", library.adapters.HTTPAdapter(pool_maxsize=in_flight))
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda entry: session.post(url, data=entry[0], headers=entry[1], timeout=15), requests))


def by_aiohttp(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    asyncio.run(_by_aiohttp(url, requests, in_flight))


async def _by_aiohttp(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    import ssl

    import aiohttp

    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    entries = iter(requests)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=in_flight)) as session:

        async def send() -> None:
            for body, headers in entries:
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

        await asyncio.gather(*(send() for _ in range(in_flight)))


def by_pycurl(url: str, requests: list[tuple[bytes, dict[str, str]]], in_flight: int) -> None:
    """The fastest client that installs: libcurl's multi interface."""
    import pycurl

    multi = pycurl.CurlMulti()
    entries = iter(requests)
    idle = [pycurl.Curl() for _ in range(in_flight)]
    under_way = 0
    for handle in idle:
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.CAINFO, os.environ["SSL_CERT_FILE"])
        handle.setopt(pycurl.WRITEFUNCTION, lambda data: None)
    while True:
        while idle and (entry := next(entries, None)):
            handle = idle.pop()
            handle.setopt(pycurl.POSTFIELDS, entry[0])
            handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in entry[1].items()])
            multi.add_handle(handle)
            under_way += 1
        if not under_way:
            return
        multi.perform()
        _queued, done, failed = multi.info_read()
        for handle in [*done, *(entry[0] for entry in failed)]:
            multi.remove_handle(handle)
            idle.append(handle)
            under_way -= 1
        if not done:
            multi.select(0.05)


KINDS: dict[str, Callable[..., Any]] = {
    "transport": by_transport,
    "fast": by_fast_transport,
    "session": by_session,
    "aiohttp": by_aiohttp,
    "pycurl": by_pycurl,
}


def in_a_process_of_its_own(kind: str, url: str, number: int, in_flight: int) -> float:
    """Make so many requests; returns the CPU seconds that they took."""
    command = [sys.executable, "-m", "tests.benchmarks.bare", kind, url, str(number), str(in_flight)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)  # noqa: S603


if __name__ == "__main__":
    kind, address, number, in_flight = sys.argv[1:]
    made = bodies(range(1, int(number) + 1))
    if kind in {"transport", "fast"}:
        import django

        django.setup()
    # Without a request, because the imports are not part of a request.
    KINDS[kind](address, [], int(in_flight))
    began = time.process_time()
    KINDS[kind](address, made, int(in_flight))
    print(time.process_time() - began)  # noqa: T201
