"""What the clients of endpoints that get only changes have accepted.

A confirmation of such an endpoint holds the digest of the body that the client accepted last, without the ignored keys.
The transaction that starts an attempt empties it, and the settlement of an accepted attempt writes it again. So while
the digest is there, the client has processed no other body since.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from django.db import connections

from live_push.contract import encoding
from live_push.models import ClientEndpoint

from . import dialect, sql
from .claimed_delivery import ClaimedDelivery

logger = logging.getLogger("live_push.outbox")


def confirmed_digest(delivery: ClaimedDelivery, endpoint: ClientEndpoint) -> str:
    """Return the digest of a delivery's snapshot, as confirmations hold it."""
    push = delivery.push
    if endpoint.capture_third_party_id and push.payload is not None:
        return encoding.snapshot_digest(encoding.load(push.payload), ignore_third_party_id=True)
    return push.digest


def compared_digest(delivery: ClaimedDelivery, endpoint: ClientEndpoint) -> str:
    """Return the digest of a delivery's body without the ignored keys.

    Empty if the endpoint does not get only changes, or if the body can't be made. Sending it then reports the cause.
    """
    if not endpoint.only_changes or delivery.push.payload is None:
        return ""
    try:
        return encoding.content_digest(
            encoding.load(delivery.push.payload),
            endpoint.options,
            ignored_keys=endpoint.ignored_keys,
            version=endpoint.content_version,
        )
    except Exception as error:  # noqa: BLE001
        # The text of the error may contain personal data.
        logger.warning("The body of delivery %s can't be compared (%s).", delivery.pk, type(error).__name__)
        return ""


def forget_accepted(endpoint_id: int, profile_ids: Collection[int], *, using: str) -> None:
    """Forget what the endpoint's client has accepted of these members, so that their next update is sent.

    Call it in the transaction that starts their attempts, or that cancels a delivery which must have been sent.
    """
    if not profile_ids:
        return
    values: dict[str, Any] = {"endpoint": endpoint_id}
    profiles = dialect.any_of(values, "profile_id", profile_ids, using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(sql.fill(sql.FORGET_CONTENT, using=using, profiles=profiles), values)
