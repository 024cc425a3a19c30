"""Sign a push so that the client can check its origin.

The signature is the symmetric scheme ``v1`` of the Standard Webhooks specification, over the exact bytes that are sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
"""The beginning of a signing secret, by the Standard Webhooks specification."""

MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
"""Bounds of the key inside a signing secret, in bytes, as the Standard Webhooks specification requires."""

_VERSION = "v1"


def secret_from(key: bytes) -> str:
    """Return the signing secret for a key of 24 to 64 random bytes: ``whsec_`` and the key in base64.

    Raises ``ValueError`` for a key of another length.
    """
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"A signing secret needs {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes; found {len(key)}.")
    return PREFIX + base64.b64encode(key).decode()


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature ``v1,<base64>``: HMAC-SHA256 over ``<event id>.<timestamp>.<body>``.

    ``timestamp`` is in whole Unix seconds, with the same digits as in the header. Raises ``ValueError`` unless the
    secret is ``whsec_`` and the base64 of 24 to 64 bytes.
    """
    signed = f"{event_id}.{timestamp:d}.".encode() + body
    return f"{_VERSION},{base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()}"


def _key(secret: str) -> bytes:
    # No error shows the secret. "from None" drops the errors of base64, which may quote it.
    if not secret.startswith(PREFIX):
        raise ValueError(f"A signing secret starts with {PREFIX!r}.")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"A signing secret is base64 after {PREFIX!r}.") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"A signing secret holds {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes; found {len(key)}.")
    return key
