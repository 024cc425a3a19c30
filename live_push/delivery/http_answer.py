"""An HTTP answer, read strictly: the header block wholly or not at all, the body up to a limit."""

from __future__ import annotations

from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO, Final, Protocol

MOST_HEADER_BYTES: Final = 64 * 1024
MOST_BODY_BYTES: Final = 64 * 1024
# Of the lines between and behind chunks: enough for a body of the longest kind in chunks of one byte each.
MOST_FRAMING_BYTES: Final = 4 * MOST_BODY_BYTES


class _HeaderReader:
    """Hands out the lines of header blocks, bounded in sum; a line that is cut is an error."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._bytes_left = MOST_HEADER_BYTES
        self._begun = False

    def readline(self, limit: int) -> bytes:
        line = self.stream.readline(min(limit, self._bytes_left + 1))
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise HTTPException("the header block is too long")
        # Nothing at all is a peer that hung up, for which http.client has an error of its own.
        if not line.endswith(b"\n") and (line or self._begun):
            raise HTTPException("the header block is cut")
        self._begun = True
        return line

    def close(self) -> None:
        self.stream.close()


class _FramingReader:
    """Hands out the lines between the chunks of a body and behind the last, bounded in sum; all else as it comes.

    They count for no body, so that its limit says nothing about them: a peer could keep a worker's processor busy with
    them until the deadline.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes_left = MOST_FRAMING_BYTES

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise HTTPException("there is too much around the chunks")
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class StrictResponse(HTTPResponse):
    """``http.client``'s answer without four of its kindnesses.

    A connection that ends within the header block is an error, not the block's end: a status code must not count
    without its headers. The block is bounded as a whole, interim answers included, and so is what surrounds chunks. And
    all interim answers (RFC 9110, section 15.2) are skipped, where ``http.client`` takes those other than 100 for the
    answer.
    """

    def begin(self) -> None:
        """Read up to the end of the header block of the final answer."""
        if self.headers is not None:
            return
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
            raise HTTPException("the peer switches to a protocol that nobody asked for")
        if self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]

    def _tidy(self) -> None:
        # A length that is no number, or two of them, say nothing about the body's end, but the answer is there:
        # read on until the connection ends. urllib3 would refuse the whole answer.
        lengths = set(self.headers.get_all("content-length", []))
        if lengths and (self.length is None or len(lengths) > 1):
            del self.headers["content-length"]
            self.length = self.length and None
            self.will_close = True
        # urllib3 logs what it finds here together with the URL, whose query may hold a token.
        self.msg.defects = []
        self.msg.set_payload("")


class Body(Protocol):
    """What a body is read from."""

    def read1(self, amount: int, /) -> bytes:
        """What has come, at most that many bytes; nothing at the end. Raises where the body is cut."""


def read_body(raw: Body) -> tuple[bytes, bool]:
    """The body as it came, up to the limit, and whether that is all of it. Never raises."""
    body = bytearray()
    try:
        while len(body) <= MOST_BODY_BYTES:
            # Not read(), which waits until its buffer is full.
            data = raw.read1(min(8192, MOST_BODY_BYTES + 1 - len(body)))
            if not data:
                return bytes(body), True
            body += data
    except Exception:  # noqa: BLE001, S110  (the status is known; whatever the body does, it is only incomplete)
        pass
    return bytes(body[:MOST_BODY_BYTES]), False
