"""The client's side: an https server in a process of its own, which counts what it gets.

Started with a certificate, it prints its port, and obeys lines on its standard input: ``arrived`` (prints how many
requests came, answered or not), ``count``, ``take`` (prints what was answered, and forgets it) and
``delay MILLISECONDS``. What comes to a path that ends in ``/never`` gets no answer, and to one that ends in ``/id`` an
id of the client's own for the member.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
EVENT = re.compile(rb"webhook-id: *([^\r]+)", re.IGNORECASE)
SEQUENCE = re.compile(rb"live-push-sequence: *(\d+)", re.IGNORECASE)
MEMBER = re.compile(rb'\\?"id\\?": ?(\d+)')


class Connection(asyncio.Protocol):
    received: list[tuple[bytes, bytes, float]] = []
    arrived = 0
    delay_seconds = 0.0

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.buffer, 0, end)
            whole = end + 4 + int(length[1] if length else 0)
            if len(self.buffer) < whole:
                return
            head, body, self.buffer = self.buffer[:end], self.buffer[end + 4 : whole], self.buffer[whole:]
            Connection.arrived += 1
            if head.split(b" ", 2)[1].endswith(b"/never"):
                continue
            if self.delay_seconds:
                asyncio.get_running_loop().call_later(self.delay_seconds, self.answer, head, body)
            else:
                self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        self.transport.write(answer_with_id(body) if head.split(b" ", 2)[1].endswith(b"/id") else ANSWER)
        self.received.append((head, body, time.monotonic()))


def answer_with_id(body: bytes) -> bytes:
    member = MEMBER.search(body)
    told = b'{"third_party_id": "T-%s"}' % (member[1] if member else b"")
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(told), told)


def obey(line: str) -> None:
    word, _, argument = line.strip().partition(" ")
    if word == "count":
        print(len(Connection.received), flush=True)  # noqa: T201
    elif word == "arrived":
        print(Connection.arrived, flush=True)  # noqa: T201
    elif word == "delay":
        Connection.delay_seconds = float(argument) / 1000
        print("ok", flush=True)  # noqa: T201
    elif word == "take":
        print(json.dumps([_told(*entry) for entry in Connection.received]), flush=True)  # noqa: T201
        Connection.received.clear()


def _told(head: bytes, body: bytes, at: float) -> tuple[str, str, int, int, float]:
    event, sequence, member = EVENT.search(head), SEQUENCE.search(head), MEMBER.search(body)
    return (
        head.split(b" ", 2)[1].decode(),
        event[1].decode() if event else "",
        int(sequence[1]) if sequence else 0,
        int(member[1]) if member else 0,
        at,
    )


async def serve(certificate: str) -> None:
    # Without Django: live_push.testing needs it, and this process does not.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, ssl=context, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        obey(line)


@dataclass(frozen=True)
class Receipt:
    """One request that was answered; ``at`` is on the machine's monotonic clock, which its processes share."""

    path: str
    event_id: str
    sequence: int
    member: int
    at: float


class Receiver:
    """A receiver's handle."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = f"https://127.0.0.1:{self._read()}"

    def ask(self, line: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def wait_for(self, number: int, *, seconds: float = 240) -> list[Receipt]:
        """What was received, once there are so many."""
        until = time.monotonic() + seconds
        while (count := int(self.ask("count"))) < number:
            if time.monotonic() > until:
                raise TimeoutError(f"Of {number} requests {count} came within {seconds:.0f} s.")
            time.sleep(0.02)
        return self.take()

    def take(self) -> list[Receipt]:
        return [Receipt(*entry) for entry in json.loads(self.ask("take"))]


@contextmanager
def receiving(certificate: str, *, delay_ms: float = 0) -> Iterator[Receiver]:
    """A receiver in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.receiver", certificate]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            receiver = Receiver(process)
            receiver.ask(f"delay {delay_ms}")
            yield receiver
        finally:
            process.kill()


def check_complete(receipts: list[Receipt], members: set[int], *, each: int = 1) -> None:
    """Raise unless every member came exactly so often: nothing missing, nothing twice, nobody else."""
    counts: dict[int, int] = {}
    for receipt in receipts:
        counts[receipt.member] = counts.get(receipt.member, 0) + 1
    wrong = {member for member in members | set(counts) if counts.get(member, 0) != each * (member in members)}
    if wrong:
        raise AssertionError(f"{len(wrong)} members came not at all or too often, such as {sorted(wrong)[:5]}.")


def per_second(receipts: list[Receipt]) -> float:
    """Requests a second from the first answer to the last, so that no side pays for starting its process."""
    moments = [receipt.at for receipt in receipts]
    return (len(moments) - 1) / (max(moments) - min(moments))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
