"""A confirmed deed is done once: its form carries a token that can be used a single time, so a double click is one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.cache import cache
from django.http import HttpRequest

FIELD: Final = "once"
REMEMBERED_SECONDS: Final = 3600


def token() -> str:
    """A new one, for a hidden field of the confirmation."""
    return secrets.token_urlsafe(16)


@contextmanager
def first_time(request: HttpRequest) -> Iterator[bool]:
    """Whether the request's token is used for the first time; a request without one always is the first.

    Where the deed raises, the token may be used again.
    """
    given = request.POST.get(FIELD, "")
    # Hashed, because what a browser sends may be no key of a cache.
    key = f"live_push:once:{hashlib.sha256(given.encode()).hexdigest()}"
    first = not given or cache.add(key, True, REMEMBERED_SECONDS)
    try:
        yield first
    except Exception:
        if first:
            cache.delete(key)
        raise
