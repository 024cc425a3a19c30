"""What of an answer may be written into the log: readable text, without our secrets, without tricks, cut visibly.

Pure. What a client sends back is its own choice: it may echo our credentials, forge lines, steer a terminal, or hold
characters that no database takes.
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

from live_push.unseen import UNSEEN

REDACTED: Final = "[redacted]"
CUT: Final = " [cut]"

# A secret of one to three characters stands in many an innocent word; to black it out there would give it away.
_SHORTEST_SECRET: Final = 4


def clean(text: str | bytes, *, limit: int, secrets: Sequence[str] = ()) -> str:
    """The text as it may be stored and shown: at most ``limit`` characters, the mark for a cut included.

    ``secrets`` are blacked out wherever they stand, also in the forms in which they come back: as JSON, HTML,
    percent-encoded, in hexadecimal, and in base64, alone or within a longer text.
    """
    if not text:
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    # Secrets first: made visible or cut, they would no longer be recognised.
    text = _pattern(tuple(secrets)).sub(REDACTED, text)
    text = UNSEEN.sub(_visible, text.replace("\r\n", "\n"))
    if len(text) <= limit:
        return text
    return text[: max(limit - len(CUT), 0)] + CUT[:limit]


def clean_bytes(text: str | bytes, *, limit: int, secrets: Sequence[str] = ()) -> bytes:
    """The same as UTF-8, at most ``limit`` bytes of it."""
    data = clean(text, limit=limit, secrets=secrets).encode()
    if len(data) <= limit:
        return data
    # Not through the middle of a character.
    return data[: max(limit - len(CUT), 0)].decode(errors="ignore").encode() + CUT[:limit].encode()


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Whatever is to be blacked out; kept, because to make it takes longer than to settle a delivery."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, forms)) or r"(?!)")


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < _SHORTEST_SECRET:
        return
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    escaped = html.escape(secret)
    yield escaped
    yield escaped.replace("&#x27;", "&#039;")  # as PHP writes it
    yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")  # as Go does
    for ensure_ascii in (True, False):
        as_json = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield as_json
        yield as_json.replace("/", "\\/")  # as PHP writes it
        yield re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", as_json)  # as Go and Rails do
        yield re.sub(
            "[<>&'+`]", lambda found: f"\\u{ord(found[0]):04X}", as_json.replace('\\"', "\\u0022")
        )  # as .NET does
    for quoted in (quote(raw, safe=""), quote_plus(raw)):
        yield quoted
        yield re.sub("%..", lambda found: found[0].lower(), quoted)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _base64_forms(raw)


def _base64_forms(raw: bytes) -> Iterator[str]:
    # Without the padding, which not everyone echoes.
    forms = [b64encode(raw).rstrip(b"=")]
    # In the base64 of a longer text a secret has three looks, depending on where it begins. Known are the characters
    # that are made of its own bits alone.
    for offset in range(3):
        first, end = (offset * 8 + 5) // 6, (offset + len(raw)) * 8 // 6
        forms.append(b64encode(bytes(offset) + raw)[first:end])
    for form in forms:
        yield form.decode()
        yield form.decode().replace("+", "-").replace("/", "_")


def _visible(match: re.Match[str]) -> str:
    if match[0] in "\t\n":
        return match[0]
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
