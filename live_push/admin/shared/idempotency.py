"""Idempotency keys of confirmations: a form that is sent twice, as by a double click, takes effect once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.cache import cache
from django.http import HttpRequest

FIELD: Final = "idempotency_key"
"""The name of the form's hidden field."""

REMEMBERED_SECONDS: Final = 3600


def new_key() -> str:
    """Return a new key for the hidden field of a form."""
    return secrets.token_urlsafe(16)


@contextmanager
def first_time(request: HttpRequest) -> Iterator[bool]:
    """Yield whether this is the first request with its key. A request without a key always is.

    If the body of the ``with`` statement raises, the key may be used again.
    """
    posted = request.POST.get(FIELD, "")
    # Hashed, because not everything that a browser may send is a valid cache key.
    cache_key = f"live_push:{FIELD}:{hashlib.sha256(posted.encode()).hexdigest()}"
    first = not posted or cache.add(cache_key, True, REMEMBERED_SECONDS)
    try:
        yield first
    except Exception:
        if first:
            cache.delete(cache_key)
        raise
