"""The life of an endpoint's signing secret: generated here, shown once, rotated with an overlap, removed.

While an overlap runs, requests carry both signatures, so that a client can change over without losing a push.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import router, transaction

from live_push.concealed import Masked
from live_push.contract.signature import secret_from
from live_push.exceptions import RotationRefused, SecretUnreadable
from live_push.models import ClientEndpoint
from live_push.models.clock import db_now
from live_push.models.locking import locked

DEFAULT_OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=7)

SECRET_BYTES: Final = 32
"""Within the 24 to 64 that Standard Webhooks asks for; as many as SHA-256 gives."""

COLUMNS: Final = ("signing_secret", "previous_signing_secret", "previous_signing_secret_until")


def rotate(
    endpoint: ClientEndpoint,
    *,
    overlap: timedelta = DEFAULT_OVERLAP,
    force: bool = False,
    randomness: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """Give the endpoint a new signing secret and return its text, which nothing shows again.

    ``overlap``
        How long the old secret, if any, signs beside the new one: 0 to 7 days, by default 24 hours.
    ``force``
        Rotate although an overlap is running: the oldest secret then stops signing at once.

    Raises :class:`~live_push.exceptions.RotationRefused` while an overlap runs, and ``ValueError`` for an overlap out
    of range.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise ValueError(f"The overlap is 0 to {LONGEST_OVERLAP.days} days; found {overlap}.")
    text = Masked(secret_from(randomness(SECRET_BYTES)))
    using = endpoint._state.db or router.db_for_write(ClientEndpoint)
    with transaction.atomic(using=using):
        row = locked(ClientEndpoint.objects.using(using).filter(pk=endpoint.pk)).get()
        now = db_now(using)
        until = row.previous_signing_secret_until
        if until is not None and now < until and not force:
            raise RotationRefused(
                f"Two secrets sign until {until:%Y-%m-%d %H:%M} UTC. To rotate now would end the older one at once: "
                "wait, or force it."
            )
        keeps_old = overlap > timedelta(0) and _can_sign(row)
        # Through its text: a ciphertext belongs to its column.
        row.previous_signing_secret = row.reveal("signing_secret") if keeps_old else None
        row.previous_signing_secret_until = now + overlap if keeps_old else None
        row.signing_secret = text
        row.save(using=using, update_fields=COLUMNS)
    endpoint.refresh_from_db(fields=COLUMNS)
    return text


def _can_sign(endpoint: ClientEndpoint) -> bool:
    try:
        return endpoint.reveal("signing_secret") is not None
    except SecretUnreadable:
        # Its key is lost. To keep it would hold every push back for as long as the overlap.
        return False


def remove(endpoint: ClientEndpoint) -> None:
    """Stop signing: both secrets are forgotten."""
    endpoint.signing_secret = endpoint.previous_signing_secret = None
    endpoint.previous_signing_secret_until = None
    endpoint.save(update_fields=COLUMNS)
