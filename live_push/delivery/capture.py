"""Third-party id synchronization: the client's own id of a member, taken from the answer and kept with the profile."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from django.db import IntegrityError, transaction

from live_push.contract import reply
from live_push.models import Attempt, Delivery, UserProfile
from live_push.models.locking import locked

from .deliver import Outcome
from .result import ErrorCode

logger = logging.getLogger("live_push.delivery")


def is_wanted(outcome: Outcome) -> bool:
    """Whether this answer must bring an id: a 2xx of an endpoint that captures."""
    status = outcome.result.status_code
    return outcome.prepared.endpoint.capture_third_party_id and status is not None and 200 <= status < 300


def read(outcome: Outcome) -> reply.Reply:
    """What the answer says about the id."""
    return reply.read_third_party_id(outcome.result.body, complete=outcome.result.body_complete)


def lock_profiles(batch: Sequence[Outcome], *, using: str) -> Mapping[int | None, UserProfile]:
    """The profiles of a batch, locked, by id."""
    ids = [outcome.prepared.delivery.profile_id or 0 for outcome in batch]
    rows = locked(UserProfile._base_manager.using(using).filter(pk__in=ids)).order_by("pk")
    return {profile.pk: profile for profile in rows}


def store(
    attempt: Attempt, answer: reply.Reply, profile: UserProfile | None, delivery: Delivery, *, using: str
) -> None:
    """Keep the id with the profile and on the attempt, in the caller's transaction.

    By an update that pushes nothing: storing, pushing and storing again would never end. An answer to an older push
    never overwrites an id captured from a newer one, and an id that is another profile's is a visible conflict.
    """
    found = answer.third_party_id
    if profile is None or found is None:
        return
    attempt.captured_id = found
    if (profile.third_party_id_sequence or 0) > delivery.position:
        attempt.captured_id = None
        attempt.detail = "Not stored: an id was captured from a newer push already."
        return
    row = UserProfile._base_manager.using(using).filter(pk=profile.pk)
    if profile.third_party_id == found:
        row.update(third_party_id_sequence=delivery.position)
        return
    try:
        with transaction.atomic(using=using):
            row.update(third_party_id=found, third_party_id_sequence=delivery.position)
    except IntegrityError:
        attempt.capture_conflict = True
        attempt.error_code = ErrorCode.ID_CONFLICT.value
        attempt.detail = "Not stored: the id belongs to another profile."
        logger.warning("The id that an endpoint returned for profile %s is another profile's.", profile.pk)
        return
    attempt.replaced_id = profile.third_party_id
