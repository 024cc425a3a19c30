"""Clean the text of a client's answer before it is stored in the log.

The client decides what its answer contains. It may repeat our credentials, imitate lines of the log, control a
terminal, or have characters that a database does not accept. Cleaning redacts secrets, makes invisible characters
visible, and truncates long text. Pure.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

from .invisible import INVISIBLE

REDACTED: Final = "[redacted]"
"""Replaces a secret."""

CUT: Final = " [cut]"
"""Ends a text that was truncated."""

# Minimum length of a secret to redact, in characters. Shorter secrets also occur in ordinary words, and a word with a
# redacted part would reveal the secret.
_MIN_SECRET_LENGTH: Final = 4


def clean(text: str | bytes, *, limit: int, secrets: Sequence[str] = ()) -> str:
    """Return the text as it may be stored and shown: at most ``limit`` characters, including the mark for a cut.

    ``secrets`` are replaced by ``[redacted]`` wherever they occur. They are also recognised when they are encoded: as
    JSON, HTML, percent-encoding or hexadecimal, and in base64, alone or within a longer text. Invisible characters
    become ``\\x1b`` or ``\\u202e``; bytes that are not UTF-8 become U+FFFD.
    """
    if not text:
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    # Redact first: after the replacement of characters or a cut, a secret might no longer be recognised.
    text = _pattern(tuple(secrets)).sub(REDACTED, text)
    # Escaping makes nothing shorter, so what is behind the limit need not be escaped. A flood would take long.
    text = INVISIBLE.sub(_escape, text.replace("\r\n", "\n")[: limit + 1])
    if len(text) <= limit:
        return text
    return text[: max(limit - len(CUT), 0)] + CUT[:limit]


def clean_bytes(text: str | bytes, *, limit: int, secrets: Sequence[str] = ()) -> bytes:
    """Return the result of :func:`clean` as UTF-8 of at most ``limit`` bytes."""
    data = clean(text, limit=limit, secrets=secrets).encode()
    if len(data) <= limit:
        return data
    # errors="ignore" drops the beginning of a character that the cut divided.
    return data[: max(limit - len(CUT), 0)].decode(errors="ignore").encode() + CUT[:limit].encode()


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of all forms of the secrets. Cached, because compiling takes longer than a settlement."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, forms)) or r"(?!)")


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < _MIN_SECRET_LENGTH:
        return
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    escaped = html.escape(secret)
    yield escaped
    yield escaped.replace("&#x27;", "&#039;")  # The form of PHP.
    yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")  # The form of Go.
    for ensure_ascii in (True, False):
        as_json = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield as_json
        yield as_json.replace("/", "\\/")  # The form of PHP.
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", as_json)  # The form of Go and Rails.
        # The form of .NET.
        yield re.sub("[<>&'+`]", lambda match: f"\\u{ord(match[0]):04X}", as_json.replace('\\"', "\\u0022"))
    for quoted in (quote(raw, safe=""), quote_plus(raw)):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _base64_forms(raw)


def _base64_forms(raw: bytes) -> Iterator[str]:
    # Search without the padding, which an answer may leave out.
    forms = [b64encode(raw).rstrip(b"=")]
    # In the base64 of a longer text, a secret has one of three forms, depending on its offset modulo 3. Search for the
    # characters that depend on the secret alone, not on the neighbouring bytes.
    for offset in range(3):
        first, end = (offset * 8 + 5) // 6, (offset + len(raw)) * 8 // 6
        forms.append(b64encode(bytes(offset) + raw)[first:end])
    for form in forms:
        yield form.decode()
        yield form.decode().replace("+", "-").replace("/", "_")


def _escape(match: re.Match[str]) -> str:
    """Return a visible form of an invisible character; tabs and line breaks are kept."""
    if match[0] in "\t\n":
        return match[0]
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
