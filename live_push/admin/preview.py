"""What would be sent now, of a member or of nobody: the very bytes, headers and signature. Nothing is sent."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db import router
from django.utils.translation import gettext as _

from live_push.contract import payload
from live_push.delivery import test_push
from live_push.delivery.deliver import make_request
from live_push.exceptions import LivePushError, PayloadError
from live_push.models import ClientEndpoint, Confirmation, Push, UserProfile
from live_push.models.clock import db_now
from live_push.outbox import snapshots

from .differences import differences
from .request_shown import shown
from .sentences import translated


def of_member(profile: UserProfile, endpoint: ClientEndpoint) -> dict[str, Any]:
    """What a page shows: the request, or why there is none, and what changed since the last accepted state."""
    using = router.db_for_read(UserProfile)
    row = snapshots.read([profile.pk], using=using)[profile.pk]
    snapshot = snapshots.build(row, using=using)
    if snapshot.payload is None:
        return {"endpoint": endpoint, "problem": translated(snapshot.error)}
    body = payload.load(snapshot.payload)
    seen = _request(endpoint, body, sequence=profile.changed_sequence)
    return seen if "problem" in seen else {**seen, **_since_accepted(profile, endpoint, body)}


def of_nobody(endpoint: ClientEndpoint) -> dict[str, Any]:
    """The same of the member of a test push, who does not exist; the sequence is an example too."""
    now = db_now(router.db_for_read(ClientEndpoint))
    body = payload.ProfilePayload().snapshot(test_push.SYNTHETIC)
    return _request(endpoint, body, sequence=int(now.timestamp() * 1000))


def _request(endpoint: ClientEndpoint, body: dict[str, Any], *, sequence: int) -> dict[str, Any]:
    try:
        payload.check(body)
        request = make_request(
            endpoint,
            payload.encode(body, endpoint.options),
            event_id=str(uuid.uuid4()),
            sequence=sequence,
            attempt_number=1,
            at=db_now(router.db_for_read(UserProfile)),
        )
    except (LivePushError, PayloadError, ValueError) as error:
        return {"endpoint": endpoint, "problem": translated(error)}
    return {
        "endpoint": endpoint,
        "shown": shown(request),
        "digest": hashlib.sha256(request.body).hexdigest(),
        "withheld": endpoint.withheld_fields,
    }


def _since_accepted(profile: UserProfile, endpoint: ClientEndpoint, body: dict[str, Any]) -> dict[str, Any]:
    confirmation = Confirmation.objects.filter(endpoint=endpoint, profile=profile).first()
    if confirmation is None:
        return {"changed_sentence": _("The endpoint has accepted nothing of this member yet.")}
    push = Push.objects.filter(profile=profile, sequence=confirmation.sequence).first()
    if push is None or push.payload is None:
        return {"changed_sentence": _("The body that was accepted before is no longer kept.")}
    changed = differences(payload.load(push.payload), body)
    return {"changed": changed, "changed_sentence": "" if changed else _("The endpoint has accepted just this.")}
