"""The TLS context of all connections. It always verifies, and trusts the public authorities and the operator's own."""

from __future__ import annotations

import logging
import math
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import certifi
from cryptography import x509
from cryptography.x509.oid import NameOID

from live_push.rules.messages import Message
from live_push.rules.redaction import clean
from live_push.rules.result import ErrorCode

from .no_answer import NoAnswer
from .request import Certificate

logger = logging.getLogger("live_push.delivery")

MOST_CHARACTERS_OF_AN_ISSUER: Final = 200
_READABLE: Final = {NameOID.ORGANIZATION_NAME: "organizationName", NameOID.COMMON_NAME: "commonName"}

BUNDLE_CHECKED_EVERY_SECONDS: Final = 1.0
"""Time between two checks of the file of authorities for changes. Each check releases the GIL, and a busy worker waits
long to get it back."""

_states: dict[str, tuple[float, tuple[object, ...]]] = {}
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}


def context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the context that trusts the public authorities and, if given, those in the file ``ca_bundle``.

    Returns the same object until the file changes, because loading the authorities takes longer than anything else in a
    request. A change is noticed within a second. Raises :class:`~live_push.delivery.no_answer.NoAnswer` if the file
    can't be read.
    """
    try:
        # One context per process, because OpenSSL has locks inside a context, which may be held during a fork.
        key = os.getpid(), *_state_of(ca_bundle)
        cached = _contexts.get(key)
        if cached is not None:
            return cached
        # setdefault() returns the same context to all threads. Connections of different contexts could not be shared.
        # No lock: if a process forks while a lock is held, the lock stays held in the child for ever.
        return _contexts.setdefault(key, _make(ca_bundle))
    except OSError as error:
        # Only the log has the path: people who see the delivery's error need not know our file system.
        logger.error("A push could not be sent. %s", _unreadable(ca_bundle, error))  # noqa: TRY400  (no traceback)
        raise NoAnswer(ErrorCode.MISCONFIGURED, Message("ca_bundle_unreadable")) from None


def bundle_problem(ca_bundle: str) -> tuple[str, str]:
    """Return what is wrong with the file of authorities, and what to do; two empty texts if it is good."""
    remedy = "Name a readable file of root certificates in PEM form, or remove the key."
    bundle = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        bundle.load_verify_locations(ca_bundle)
    except OSError as error:
        return _unreadable(ca_bundle, error), remedy
    if not bundle.cert_store_stats()["x509"]:
        return _unreadable(ca_bundle, ssl.SSLError()), remedy
    authorities = bundle.get_ca_certs()
    subjects = {authority["subject"] for authority in [*authorities, *context(None).get_ca_certs()]}
    for authority in authorities:
        if authority["issuer"] not in subjects:
            name, root = _name(authority["subject"]), _name(authority["issuer"])
            problem = f"LIVE_PUSH['CA_BUNDLE'] lacks a root: {ca_bundle} has only the intermediate authority {name}."
            return problem, f"Add the certificate of {root} to the file: the root authority is needed, too."
    return "", ""


def _unreadable(ca_bundle: str | None, error: OSError) -> str:
    # SSLError is a subclass of OSError, but its text is OpenSSL's.
    reason = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
    return f"LIVE_PUSH['CA_BUNDLE'] can't be read: {ca_bundle}: {reason}."


def _state_of(ca_bundle: str | None) -> tuple[object, ...]:
    if ca_bundle is None:
        return ()
    checked_at, state = _states.get(ca_bundle, (-math.inf, ()))
    now = monotonic()
    if now - checked_at >= BUNDLE_CHECKED_EVERY_SECONDS:
        stat = Path(ca_bundle).stat()
        state = ca_bundle, stat.st_mtime_ns, stat.st_size
        _states[ca_bundle] = now, state
    return state


def _make(ca_bundle: str | None) -> ssl.SSLContext:
    # Not with ssl.create_default_context() or urllib3's helper: both log the TLS keys to the file SSLKEYLOGFILE.
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # By default Python also accepts the common name, to which the name constraints of the issuer don't apply.
    made.hostname_checks_common_name = False
    made.load_verify_locations(certifi.where())
    if ca_bundle is not None:
        made.load_verify_locations(ca_bundle)
    return made


def authorities(ca_bundle: str) -> bytes:
    """Return the certificates that the context for this file trusts, in PEM format."""
    return Path(certifi.where()).read_bytes() + b"\n" + Path(ca_bundle).read_bytes()


def certificate_of(connection: object) -> Certificate | None:
    """Return the verified certificate of the server at the other end; ``None`` if the connection is not TLS."""
    fields: dict[str, Any] = {}
    if isinstance(connection, ssl.SSLSocket | ssl.SSLObject):
        fields = connection.getpeercert() or {}
    if "notAfter" not in fields:
        return None
    return Certificate(
        _name(fields.get("issuer", ())), datetime.fromtimestamp(ssl.cert_time_to_seconds(fields["notAfter"]), UTC)
    )


def certificate_in(pem: str) -> Certificate:
    """Return the issuer and the expiry of a certificate in PEM format."""
    parsed = x509.load_pem_x509_certificate(pem.encode())
    groups = [((_READABLE.get(part.oid, ""), part.value) for part in relative) for relative in parsed.issuer.rdns]
    return Certificate(_name(groups), parsed.not_valid_after_utc)


def _name(groups: Any) -> str:
    """Return the organization and the common name of a subject or an issuer in the form that ``ssl`` returns."""
    parts = dict(pair for group in groups for pair in group)
    names = [parts[name] for name in _READABLE.values() if parts.get(name)]
    return clean(", ".join(names), limit=MOST_CHARACTERS_OF_AN_ISSUER)
