"""Proof of origin: the symmetric ``v1`` scheme of the Standard Webhooks specification, over the exact bytes sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
MIN_BYTES = 24
MAX_BYTES = 64
"""Length of the key inside a signing secret, as Standard Webhooks asks for."""

_VERSION = "v1"


def secret_from(randomness: bytes) -> str:
    """A signing secret, ``whsec_…``, from 24 to 64 random bytes. Raises ``ValueError`` for another length."""
    if not MIN_BYTES <= len(randomness) <= MAX_BYTES:
        raise ValueError(f"A signing secret needs {MIN_BYTES} to {MAX_BYTES} bytes; found {len(randomness)}.")
    return PREFIX + base64.b64encode(randomness).decode()


def check_secret(secret: str) -> None:
    """Raise ``ValueError`` unless the text is ``whsec_`` and the base64 of 24 to 64 bytes."""
    _key(secret)


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """One signature, ``v1,<base64>``: HMAC-SHA256 over ``<event id>.<timestamp>.<body>``.

    ``timestamp`` is in whole Unix seconds: the receiver signs the digits of the header. Raises ``ValueError`` for a
    secret that is none.
    """
    signed = f"{event_id}.{timestamp:d}.".encode() + body
    return f"{_VERSION},{base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()}"


def _key(secret: str) -> bytes:
    # The sentences never show the secret, and "from None" drops what quotes it.
    if not secret.startswith(PREFIX):
        raise ValueError(f"A signing secret starts with {PREFIX!r}.")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"A signing secret is base64 after {PREFIX!r}.") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"A signing secret holds {MIN_BYTES} to {MAX_BYTES} bytes; found {len(key)}.")
    return key
