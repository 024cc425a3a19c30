"""Parse an HTTP answer from libcurl's callbacks, which get header lines and pieces of the body, up to a limit each."""

from __future__ import annotations

import re
from typing import Final

from live_push.delivery.answer import MOST_BODY_BYTES, MOST_HEADER_BYTES

ABORT: Final = 0
"""The value that a callback returns to make libcurl abort the transfer."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] +([1-9][0-9]{2})( [^\r\n]*)?\r?\n")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}( *, *[0-9]{1,18})*")


class AnswerParser:
    """Collects one answer. ``status`` is the code of the final answer; ``None`` until its header block is complete."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = bytearray()
        self.has_begun = False
        self.ends_with_connection = True
        """Whether the body ends when the connection is closed, because the headers give no length."""
        self._status_so_far = 0
        self._has_chunks = self._has_odd_length = False
        self._header_bytes = 0

    def take_header(self, line: bytes) -> int | None:
        """Parse a line of a header block or of the trailers. libcurl also passes an incomplete line."""
        self.has_begun = True
        self._header_bytes += len(line)
        if self._header_bytes > MOST_HEADER_BYTES:
            return ABORT
        if self.status is not None or not line.endswith(b"\n"):
            return None
        if not self._status_so_far:
            match = _STATUS_LINE.fullmatch(line)
            # 101 switches to another protocol, which was not requested.
            if match is None or match[1] == b"101":
                return ABORT
            self._status_so_far = int(match[1])
            return None
        if line in (b"\r\n", b"\n"):
            return self._end_block()
        if self._status_so_far >= 200:
            self._take_field(line)
        return None

    def take_body(self, data: bytes) -> int | None:
        """Add a piece of the body, up to the limit."""
        room = MOST_BODY_BYTES - len(self.body)
        self.body += data[:room]
        return ABORT if len(data) > room else None

    def take_unusable_length(self) -> None:
        """Accept the status although libcurl stopped at a malformed length (RFC 9112, section 6.3)."""
        if self._status_so_far >= 200:
            self.status = self._status_so_far

    def _end_block(self) -> int | None:
        if self._status_so_far < 200:
            self._status_so_far = 0
            return None
        self.status = self._status_so_far
        # With a malformed length, libcurl would read until the peer closes the connection.
        return ABORT if self._has_odd_length and not self._has_chunks else None

    def _take_field(self, line: bytes) -> None:
        name, _, rest = line.partition(b":")
        value = rest.strip()
        match name.strip().lower():
            case b"content-length":
                self.ends_with_connection = False
                self._has_odd_length |= _LENGTH.fullmatch(value) is None
            case b"transfer-encoding":
                self.ends_with_connection = False
                self._has_chunks = True
            case b"retry-after":
                text = value.decode("latin-1")
                self.retry_after = text if self.retry_after is None else f"{self.retry_after}, {text}"
