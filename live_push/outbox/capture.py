"""Third-party ID synchronization: take the client's id of a member from its answer, and store it with the profile."""

from __future__ import annotations

import logging

from django.db import IntegrityError, transaction

from live_push.contract import reply
from live_push.models import UserProfile
from live_push.models.transactions import impatient
from live_push.rules.messages import Message
from live_push.rules.result import ErrorCode, is_2xx

from .claimed_delivery import ClaimedDelivery
from .outcome import Outcome
from .verdict import NewAttempt

logger = logging.getLogger("live_push.delivery")


def is_wanted(outcome: Outcome) -> bool:
    """Return whether this answer must bring an id: it is a 2xx, and the endpoint captures ids."""
    return outcome.endpoint.capture_third_party_id and is_2xx(outcome.result.status_code)


def read_reply(outcome: Outcome) -> reply.Reply:
    """Return what the answer says about the id."""
    return reply.read_third_party_id(outcome.result.body, complete=outcome.result.body_complete)


def has_id(outcome: Outcome) -> bool:
    """Return whether this answer brings an id to store, for which the profile's row must be locked."""
    return is_wanted(outcome) and read_reply(outcome).third_party_id is not None


def store(
    attempt: NewAttempt, answer: reply.Reply, profile: UserProfile | None, delivery: ClaimedDelivery, *, using: str
) -> None:
    """Store the id with the profile and set it on the attempt, in the caller's transaction.

    Storing the id records no push. Otherwise each push would store an id, and each id would cause a push, without end.
    An answer to an older push does not overwrite an id captured from a newer one. If another profile has the id, the
    attempt shows a conflict.
    """
    third_party_id = answer.third_party_id
    if profile is None or third_party_id is None:
        return
    attempt.captured_id = third_party_id
    if (profile.third_party_id_sequence or 0) > delivery.position:
        attempt.captured_id = None
        attempt.detail = Message("id_from_older_push")
        return
    row = UserProfile._base_manager.using(using).filter(pk=profile.pk)
    if profile.third_party_id == third_party_id:
        row.update(third_party_id_sequence=delivery.position)
        return
    try:
        # The update would wait if another transaction is storing the same id with another profile.
        with impatient(using), transaction.atomic(using=using):
            row.update(third_party_id=third_party_id, third_party_id_sequence=delivery.position)
    except IntegrityError:
        attempt.capture_conflict = True
        attempt.error_code = ErrorCode.ID_CONFLICT.value
        attempt.detail = Message("id_of_another_member")
        logger.warning("The id that an endpoint returned for profile %s is another profile's.", profile.pk)
        return
    attempt.replaced_id = profile.third_party_id
