"""Rotate and remove signing secrets.

During the overlap, requests carry both signatures, so that a client can switch secrets without losing a push.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import router, transaction

from live_push.contract.signature import secret_from
from live_push.exceptions import RotationRefused, SecretUnreadable
from live_push.models import ClientEndpoint
from live_push.models.clock import db_now
from live_push.models.transactions import locked
from live_push.rules.masking import Masked
from live_push.rules.messages import Message

DEFAULT_OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=7)

SECRET_BYTES: Final = 32
"""Standard Webhooks requires 24 to 64 bytes. 32 is the size of the HMAC-SHA256 signature."""

SIGNING_COLUMNS: Final = ("signing_secret", "previous_signing_secret", "previous_signing_secret_until")


def rotate(
    endpoint: ClientEndpoint,
    *,
    overlap: timedelta = DEFAULT_OVERLAP,
    force: bool = False,
    randomness: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """Give the endpoint a new signing secret and return its text, which can't be read again.

    ``overlap``
        How long the old secret, if there is one, also signs: 0 to 7 days, by default 24 hours.
    ``force``
        Rotate even during an overlap. The oldest secret then stops signing at once.

    Raises :class:`~live_push.exceptions.RotationRefused` during an overlap without ``force``, and ``ValueError`` if
    ``overlap`` is out of range.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise ValueError(f"The overlap is 0 to {LONGEST_OVERLAP.days} days; found {overlap}.")
    text = Masked(secret_from(randomness(SECRET_BYTES)))
    using = router.db_for_write(ClientEndpoint, instance=endpoint)
    with transaction.atomic(using=using):
        row = locked(ClientEndpoint.objects.using(using).filter(pk=endpoint.pk)).get()
        now = db_now(using)
        until = row.previous_signing_secret_until
        if until is not None and now < until and not force:
            raise RotationRefused(Message("rotation_overlap", moment=f"{until:%Y-%m-%d %H:%M}"))
        keeps_old = overlap > timedelta(0) and _can_sign(row)
        # Decrypted and encrypted again, because a ciphertext is bound to its column.
        row.previous_signing_secret = row.reveal("signing_secret") if keeps_old else None
        row.previous_signing_secret_until = now + overlap if keeps_old else None
        row.signing_secret = text
        row.save(using=using, update_fields=SIGNING_COLUMNS)
    endpoint.refresh_from_db(using=using, fields=SIGNING_COLUMNS)
    return text


def _can_sign(endpoint: ClientEndpoint) -> bool:
    try:
        return endpoint.reveal("signing_secret") is not None
    except SecretUnreadable:
        # Its key is lost. An unreadable secret would block every push during the overlap.
        return False


def remove(endpoint: ClientEndpoint) -> None:
    """Stop signing: delete both secrets."""
    endpoint.signing_secret = endpoint.previous_signing_secret = None
    endpoint.previous_signing_secret_until = None
    endpoint.save(update_fields=SIGNING_COLUMNS)
