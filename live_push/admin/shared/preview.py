"""Preview a request: the exact body, headers and signature that would be sent now. Nothing is sent."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db import router
from django.utils.translation import gettext as _

from live_push.contract import conformity, encoding, payload
from live_push.delivery import test_push
from live_push.delivery.send import make_request
from live_push.exceptions import LivePushError, PayloadError
from live_push.figures.brandings import is_in_audience
from live_push.models import ClientEndpoint, Confirmation, Push, UserProfile
from live_push.models.clock import db_now
from live_push.outbox import snapshots
from live_push.rules.translation import translated

from .differences import differences
from .request_shown import shown


def of_member(profile: UserProfile, endpoint: ClientEndpoint) -> dict[str, Any]:
    """Return the context of the page: the request or the problem, and the changes since the last accepted state."""
    # Not from a replica, which may lack this member or this state.
    using = router.db_for_write(UserProfile, instance=profile)
    row = snapshots.read_rows([profile.pk], using=using)[profile.pk]
    snapshot = snapshots.build_snapshot(row, using=using)
    if snapshot.payload is None:
        return {"endpoint": endpoint, "problem": translated(snapshot.error)}
    body = encoding.load(snapshot.payload)
    if not is_in_audience(profile, endpoint, using=using):
        return {"endpoint": endpoint, "problem": _("The member is outside this endpoint's audience: nothing is sent.")}
    context = _request(endpoint, body, sequence=profile.changed_sequence)
    return context if "problem" in context else {**context, **_since_accepted(profile, endpoint, body)}


def of_synthetic_member(endpoint: ClientEndpoint) -> dict[str, Any]:
    """Return the context for the synthetic member of test pushes. The sequence is an example, too."""
    now = db_now(router.db_for_read(ClientEndpoint))
    body = payload.ProfilePayload().snapshot(test_push.SYNTHETIC)
    return _request(endpoint, body, sequence=int(now.timestamp() * 1000))


def _request(endpoint: ClientEndpoint, body: dict[str, Any], *, sequence: int) -> dict[str, Any]:
    try:
        conformity.check_snapshot(body)
        request = make_request(
            endpoint,
            encoding.encode(body, endpoint.options),
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
        return {"changed_sentence": _("The endpoint has not accepted any state of this member yet.")}
    push = Push.objects.filter(profile=profile, sequence=confirmation.sequence).first()
    if push is None or push.payload is None:
        return {"changed_sentence": _("The body that was accepted before is not stored any more.")}
    changed = differences(encoding.load(push.payload), body)
    return {
        "changed": changed,
        "changed_sentence": "" if changed else _("The endpoint has already accepted exactly this body."),
    }
