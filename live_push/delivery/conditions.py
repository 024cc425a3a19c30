"""The settings that apply to one attempt, checked and in the form that a transport needs."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from live_push import conf
from live_push.rules import endpoint_url
from live_push.rules.messages import Message
from live_push.rules.networks import AddressRule, parse_networks
from live_push.rules.result import ErrorCode

from . import tls
from .guard import AddressGuard
from .no_answer import NoAnswer

logger = logging.getLogger("live_push.delivery")

HEADERS_OF_HTTP: Final = frozenset({"host", "content-length", "accept-encoding"})
"""The headers that a transport adds to those of the request."""

MOST_IDLE_SECONDS: Final = 4.0
"""A connection that was idle for longer is not used again. Many servers close idle connections after 5 s, and a request
sent at that moment may or may not be processed. A new connection only takes milliseconds."""

MOST_AGE_SECONDS: Final = 300.0
"""A connection that is older is not used again, so that changes in DNS and in the refused networks take effect."""


@dataclass(frozen=True)
class Conditions:
    """The settings for one attempt.

    ``url``
        The URL of the endpoint. It has passed the rule for URLs.
    ``guard``
        Decides to which addresses the attempt may connect.
    ``context``
        Verifies the server's certificate. It trusts the public authorities and those in the file ``ca_bundle``.
    """

    url: str
    guard: AddressGuard
    context: ssl.SSLContext
    ca_bundle: str | None
    connect_seconds: float
    total_seconds: float


def current_conditions(url: str) -> Conditions:
    """Return the conditions for an attempt that starts now.

    Raises :class:`~live_push.exceptions.EndpointUrlError` for a URL that breaks the rule, and
    :class:`~live_push.delivery.no_answer.NoAnswer` if a setting can't be used.
    """
    try:
        settings = conf.current()
    except ImproperlyConfigured as error:
        logger.error("A push could not be sent. %s", error)  # noqa: TRY400  (no traceback)
        raise NoAnswer(ErrorCode.MISCONFIGURED, Message("settings_wrong")) from None
    allowed, blocked = tuple(settings.ALLOWED_PRIVATE_NETWORKS), tuple(settings.EXTRA_BLOCKED_NETWORKS)
    ports = None if settings.ALLOWED_PORTS is None else tuple(settings.ALLOWED_PORTS)
    return Conditions(
        # If private networks are allowed, only the guard checks the addresses, including a literal one in the URL.
        _checked(url, ports, None if allowed else AddressRule()),
        _guard(allowed, blocked),
        tls.context(settings.CA_BUNDLE),
        settings.CA_BUNDLE,
        settings.CONNECT_TIMEOUT_SECONDS,
        settings.TOTAL_TIMEOUT_SECONDS,
    )


@lru_cache(maxsize=1024)
def _checked(url: str, ports: tuple[int, ...] | None, addresses: AddressRule | None) -> str:
    return endpoint_url.check(url, allowed_ports=ports, addresses=addresses)


@lru_cache(maxsize=8)
def _guard(allowed: tuple[str, ...], blocked: tuple[str, ...]) -> AddressGuard:
    return AddressGuard(parse_networks(allowed), parse_networks(blocked))
