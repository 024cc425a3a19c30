"""The one TLS context of all connections: verification on, the public authorities and the operator's own."""

from __future__ import annotations

import logging
import math
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import certifi

from .no_answer import NoAnswer
from .redaction import clean
from .request import Certificate
from .result import ErrorCode

logger = logging.getLogger("live_push.delivery")

MOST_CHARACTERS_OF_AN_ISSUER: Final = 200

# A look at the file lets go of Python's lock, and a busy worker waits long to have it back.
LOOK_AGAIN_SECONDS: Final = 1.0

_states: dict[str, tuple[float, tuple[object, ...]]] = {}
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
_lock = threading.Lock()


def context(ca_bundle: str | None) -> ssl.SSLContext:
    """The context that trusts the public authorities and those in the file ``ca_bundle``, if one is named.

    The same object as long as the file doesn't change (which is noticed within a second), because loading the
    authorities takes longer than anything else that a request needs. Raises
    :class:`~live_push.delivery.no_answer.NoAnswer` where the file can't be read.
    """
    try:
        key = _state_of(ca_bundle)
        known = _contexts.get(key)
        if known is not None:
            return known
        # One thread makes it: connections made in different contexts are not shared.
        with _lock:
            if key not in _contexts:
                _contexts[key] = _make(ca_bundle)
            return _contexts[key]
    except OSError:
        logger.error("LIVE_PUSH['CA_BUNDLE'] can't be read as a file of certificates.")  # noqa: TRY400  (no traceback)
        raise NoAnswer(ErrorCode.MISCONFIGURED, "The CA bundle of our settings can't be read.") from None


def _state_of(ca_bundle: str | None) -> tuple[object, ...]:
    if ca_bundle is None:
        return ()
    looked_at, state = _states.get(ca_bundle, (-math.inf, ()))
    now = monotonic()
    if now - looked_at >= LOOK_AGAIN_SECONDS:
        found = Path(ca_bundle).stat()
        state = ca_bundle, found.st_mtime_ns, found.st_size
        _states[ca_bundle] = now, state
    return state


def _make(ca_bundle: str | None) -> ssl.SSLContext:
    # By hand, because the usual helpers listen to the environment, which may ask to write the session keys to a file.
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python's own default: a name outside of the list of names, where the issuer's constraints don't hold, counts too.
    made.hostname_checks_common_name = False
    made.load_verify_locations(certifi.where())
    if ca_bundle is not None:
        made.load_verify_locations(ca_bundle)
    return made


def certificate_of(connection: object) -> Certificate | None:
    """The certificate that the other side of an encrypted connection presented, which was judged to be good."""
    told: dict[str, Any] = {}
    if isinstance(connection, ssl.SSLSocket | ssl.SSLObject):
        told = connection.getpeercert() or {}
    if "notAfter" not in told:
        return None
    parts = dict(pair for group in told.get("issuer", ()) for pair in group)
    names = [parts[name] for name in ("organizationName", "commonName") if parts.get(name)]
    return Certificate(
        clean(", ".join(names), limit=MOST_CHARACTERS_OF_AN_ISSUER),
        datetime.fromtimestamp(ssl.cert_time_to_seconds(told["notAfter"]), UTC),
    )
