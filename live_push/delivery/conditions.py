"""Under which conditions an attempt is made: what the settings say now, checked and ready for a transport."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from live_push import conf, endpoint_url

from . import tls
from .address_guard import AddressGuard
from .networks import parsed
from .no_answer import NoAnswer
from .result import ErrorCode

logger = logging.getLogger("live_push.delivery")

HEADERS_OF_HTTP: Final = frozenset({"host", "content-length", "accept-encoding"})
"""All that is added to a request's own headers."""

# Many servers hang up after five idle seconds. Who sends at that very moment never learns whether the push was
# processed; a new connection costs milliseconds.
MOST_IDLE_SECONDS: Final = 4.0
# So that even a busy connection follows a client that moves in DNS, and is judged again.
MOST_AGE_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Conditions:
    """``url`` has passed the URL rule; connections go where ``guard`` lets them and are verified by ``context``."""

    url: str
    guard: AddressGuard
    context: ssl.SSLContext
    connect_seconds: float
    total_seconds: float


def conditions(url: str) -> Conditions:
    """Those for an attempt that begins now.

    Raises :class:`~live_push.exceptions.EndpointUrlError` for a URL that breaks the rule, and
    :class:`~live_push.delivery.no_answer.NoAnswer` where a setting can't be used.
    """
    settings = conf.current()
    allowed, blocked = tuple(settings.ALLOWED_PRIVATE_NETWORKS), tuple(settings.EXTRA_BLOCKED_NETWORKS)
    ports = None if settings.ALLOWED_PORTS is None else tuple(settings.ALLOWED_PORTS)
    return Conditions(
        _checked(url, ports, allowed != ()),
        _guard(allowed, blocked),
        tls.context(settings.CA_BUNDLE),
        settings.CONNECT_TIMEOUT_SECONDS,
        settings.TOTAL_TIMEOUT_SECONDS,
    )


@lru_cache(maxsize=1024)
def _checked(url: str, ports: tuple[int, ...] | None, private_allowed: bool) -> str:
    return endpoint_url.check(url, allowed_ports=ports, private_allowed=private_allowed)


@lru_cache(maxsize=8)
def _guard(allowed: tuple[str, ...], blocked: tuple[str, ...]) -> AddressGuard:
    try:
        return AddressGuard(parsed(allowed), parsed(blocked))
    except ValueError:
        logger.error("A network in LIVE_PUSH can't be read.")  # noqa: TRY400  (no traceback)
        raise NoAnswer(ErrorCode.MISCONFIGURED, "A network in our settings can't be read.") from None
