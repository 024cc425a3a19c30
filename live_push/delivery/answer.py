"""Read an HTTP answer strictly: accept only a complete header block, and read the body up to a limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO, Final, Protocol

MOST_HEADER_BYTES: Final = 64 * 1024
MOST_BODY_BYTES: Final = 64 * 1024
MOST_FRAMING_BYTES: Final = 4 * MOST_BODY_BYTES
"""Limit for the lines between and after the chunks of a body. It allows the longest body in chunks of one byte."""


class NoFirstByteError(ConnectionResetError):
    """The connection was closed before the first byte of an answer."""


class _HeaderReader:
    """Reads header blocks for ``http.client``, up to a limit for all blocks together. An incomplete line is an error.

    It returns all fields of a block as one "line", because ``http.client`` refuses more than a hundred lines.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._bytes_left = MOST_HEADER_BYTES
        self._parts = self._read()

    def readline(self, _limit: int) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        self.stream.close()

    def _read(self) -> Iterator[bytes]:
        while True:
            yield self._line()
            fields = []
            while (line := self._line()) not in (b"\r\n", b"\n"):
                fields.append(line)
            if fields:
                yield b"".join(fields)
            yield line

    def _line(self) -> bytes:
        line = self.stream.readline(self._bytes_left + 1)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise HTTPException("the header block is too long")
        if not line.endswith(b"\n"):
            raise HTTPException("the header block is cut")
        return line


class _FramingReader:
    """Limits the total length of the lines between and after the chunks of a body.

    The limit for the body does not cover these lines. Without a limit of their own, a peer could keep a worker's
    processor busy with them until the deadline.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes_left = MOST_FRAMING_BYTES

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise HTTPException("the lines around the chunks are too long")
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class StrictResponse(HTTPResponse):
    """The answer of ``http.client``, which is stricter in five points.

    1. If the connection is closed within the header block, this is an error. ``http.client`` would accept the status
       code without the missing headers.
    2. The header blocks, including those of interim answers, have a limit in all.
    3. The lines around chunks have a limit in all.
    4. All interim answers (RFC 9110, section 15.2) are skipped. ``http.client`` returns those other than 100.
    5. If the headers don't give a usable length of the body, the body is not read.
    """

    _has_readable_body = True

    def begin(self) -> None:
        """Read up to the end of the header block of the final answer.

        Raises :class:`NoFirstByteError` if the connection is closed before the first byte.
        """
        if self.headers is not None:
            return
        self._wait_for_first_byte()
        reader = _HeaderReader(self.fp)
        self.fp = reader
        try:
            while self.headers is None:
                super().begin()
                self._skip_interim()
        finally:
            if self.fp is reader:
                self.fp = reader.stream
        self._tidy()
        if self.chunked:
            self.fp = _FramingReader(self.fp)

    def _skip_interim(self) -> None:
        if self.status == 101:
            raise HTTPException("the peer switches to a protocol that was not requested")
        if self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]

    def read1(self, n: int = -1) -> bytes:
        """Return the received bytes of the body, at most ``n``. Raises an error if the body's length is unknown."""
        if not self._has_readable_body:
            raise HTTPException("the headers give no usable length")
        return super().read1(n)

    def _wait_for_first_byte(self) -> None:
        try:
            first = self.fp.peek(1)
        except ConnectionError:
            raise NoFirstByteError from None
        if not first:
            raise NoFirstByteError

    def _tidy(self) -> None:
        values = self.headers.get_all("content-length", [])
        lengths = {length.strip() for value in values for length in value.split(",")}
        if lengths and not self.chunked:
            self._read_length(*lengths)
        # urllib3 would log the defects together with the URL, whose query may contain a token.
        self.msg.defects = []
        self.msg.set_payload("")

    def _read_length(self, length: str, *others: str) -> None:
        # RFC 9112, section 6.3: the same length twice counts once, but different or malformed lengths are an error.
        # Reading until the peer closes the connection could take the whole timeout.
        if others or not re.fullmatch("[0-9]{1,18}", length):
            self._has_readable_body = False
            # With this header, urllib3 would refuse the whole answer.
            del self.headers["content-length"]
        elif self.length is None:
            self.length = int(length)


class LimitedBody(Protocol):
    """An object from which a body is read."""

    def read1(self, amount: int, /) -> bytes:
        """Return the received bytes, at most ``amount``; no bytes at the end. Raises an error if the body is cut."""


def read_body(raw: LimitedBody) -> tuple[bytes, bool]:
    """Return the received body up to the limit, and whether it is complete. Never raises."""
    body = bytearray()
    try:
        while len(body) <= MOST_BODY_BYTES:
            # read1() returns what has arrived; read() would wait until its buffer is full.
            data = raw.read1(min(8192, MOST_BODY_BYTES + 1 - len(body)))
            if not data:
                return bytes(body), True
            body += data
    except Exception:  # noqa: BLE001, S110  (the status is known, so any error only makes the body incomplete)
        pass
    return bytes(body[:MOST_BODY_BYTES]), False
