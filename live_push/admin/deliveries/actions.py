"""The actions that an operator may take on deliveries: redeliver, resend, cancel, erase."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from live_push import api
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, UserProfile
from live_push.outbox import reopen, withdraw


@dataclass(frozen=True)
class Plan:
    """The effect that an action would have on the selected deliveries.

    ``ids``
        The deliveries that the action applies to.
    ``by_endpoint``
        How many of them each endpoint has, by the endpoint's name.
    ``left_out``
        Why the action does not apply to the others: each reason with the number of deliveries.
    ``oldest``, ``newest``
        When the first and the last of ``ids`` were recorded.
    """

    ids: frozenset[int]
    by_endpoint: list[tuple[str, int]]
    left_out: list[tuple[str, int]] = field(default_factory=list)
    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def count(self) -> int:
        """The number of deliveries that the action applies to."""
        return len(self.ids)


@dataclass(frozen=True)
class Action:
    """One action.

    ``history_code``
        The code of the message that the history keeps.
    ``button``, ``success``
        The button of the confirmation, and the message afterwards; both take ``count``.
    ``plan``
        Return what the action would do to the deliveries with these ids, in a database.
    ``run``
        Take the action on them; return for how many it took effect.
    ``confirms_one``
        Whether the action is confirmed also for a single delivery, because it can't be undone.
    """

    name: str
    permission: str
    history_code: str
    label: Any
    explanation: Any
    button: Any
    success: Any
    plan: Callable[[Collection[int], str], Plan]
    run: Callable[[Collection[int], str], int]
    confirms_one: bool = False


def _plan(ids: Collection[int], left_out: Counter[str], using: str) -> Plan:
    chosen = Delivery.objects.using(using).filter(pk__in=ids)
    rows = list(chosen.order_by().values_list("endpoint__name", "created_at"))
    recorded = [created_at for _name, created_at in rows]
    return Plan(
        ids=frozenset(ids),
        by_endpoint=sorted(Counter(name for name, _created_at in rows).items()),
        left_out=list(left_out.most_common()),
        oldest=min(recorded, default=None),
        newest=max(recorded, default=None),
    )


def _plan_redelivery(ids: Collection[int], using: str) -> Plan:
    reopened, skipped = reopen.plan(ids, using=using)
    return _plan(reopened, Counter(_(item.why) for item in skipped), using)


def _redeliver(ids: Collection[int], using: str) -> int:
    return len(api.redeliver(Delivery.objects.using(using).filter(pk__in=ids))[0])


def _resendable(ids: Collection[int], using: str) -> QuerySet[Delivery]:
    return Delivery.objects.using(using).filter(pk__in=ids, profile__isnull=False, endpoint__is_active=True)


def _plan_resend(ids: Collection[int], using: str) -> Plan:
    chosen = Delivery.objects.using(using).filter(pk__in=ids)
    pairs: set[tuple[int, int | None]] = set()
    resendable: list[int] = []
    left_out: Counter[str] = Counter()
    for pk, endpoint_id, profile_id, is_active in chosen.order_by("pk").values_list(
        "pk", "endpoint", "profile", "endpoint__is_active"
    ):
        if profile_id is None:
            left_out[_("its member was deleted")] += 1
        elif not is_active:
            left_out[_("its endpoint is disabled; resuming it sends the current state")] += 1
        elif (endpoint_id, profile_id) in pairs:
            left_out[
                _("another selected delivery has the same member and endpoint; the current state is sent once")
            ] += 1
        else:
            pairs.add((endpoint_id, profile_id))
            resendable.append(pk)
    return _plan(resendable, left_out, using)


def _resend(ids: Collection[int], using: str) -> int:
    members: dict[int, set[int]] = defaultdict(set)
    for endpoint_id, profile_id in _resendable(ids, using).values_list("endpoint", "profile"):
        members[endpoint_id].add(profile_id or 0)
    endpoints = ClientEndpoint.objects.using(using).in_bulk(members)
    return sum(
        api.push_profiles(
            UserProfile.objects.using(using).filter(pk__in=profile_ids), endpoints=[endpoints[endpoint_id]]
        )
        for endpoint_id, profile_ids in members.items()
    )


def _plan_cancel(ids: Collection[int], using: str) -> Plan:
    chosen = Delivery.objects.using(using).filter(pk__in=ids)
    waiting = list(chosen.filter(status=DeliveryStatus.PENDING).values_list("pk", flat=True))
    others = len(ids) - len(waiting)
    left_out = Counter({_("it is not waiting: it is being sent or has ended"): others} if others else {})
    return _plan(waiting, left_out, using)


def _plan_erasure(ids: Collection[int], using: str) -> Plan:
    ended = list(Delivery.objects.using(using).filter(pk__in=ids, ended_at__isnull=False).values_list("pk", flat=True))
    others = len(ids) - len(ended)
    return _plan(ended, Counter({_("it has not ended yet"): others} if others else {}), using)


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "redeliver",
            "resend_delivery",
            "history_redeliver",
            gettext_lazy("Redeliver: the same event again"),
            gettext_lazy(
                "The same body is sent again with the same event id, so that the client can recognize it. If the "
                "endpoint has accepted a newer state, nothing is sent."
            ),
            ngettext_lazy("Redeliver %(count)s delivery", "Redeliver %(count)s deliveries", "count"),
            ngettext_lazy("%(count)s delivery is sent again.", "%(count)s deliveries are sent again.", "count"),
            _plan_redelivery,
            _redeliver,
        ),
        Action(
            "resend",
            "resend_delivery",
            "history_resend_profile",
            gettext_lazy("Resend current profile"),
            gettext_lazy("The current state of the member is sent as a new event."),
            ngettext_lazy("Resend %(count)s profile", "Resend %(count)s profiles", "count"),
            ngettext_lazy("%(count)s profile is sent again.", "%(count)s profiles are sent again.", "count"),
            _plan_resend,
            _resend,
        ),
        Action(
            "cancel",
            "cancel_delivery",
            "history_cancel",
            gettext_lazy("Cancel: do not send"),
            gettext_lazy("It will not be sent. The endpoint stays behind until the member's next push."),
            ngettext_lazy("Cancel %(count)s delivery", "Cancel %(count)s deliveries", "count"),
            ngettext_lazy("%(count)s delivery is cancelled.", "%(count)s deliveries are cancelled.", "count"),
            _plan_cancel,
            lambda ids, using: withdraw.cancel(ids, using=using),
            confirms_one=True,
        ),
        Action(
            "erase_content",
            "erase_delivery_content",
            "history_erase",
            gettext_lazy("Erase content"),
            gettext_lazy(
                "Bodies and answers are erased permanently. The log still shows that something was sent, and when."
            ),
            ngettext_lazy(
                "Erase the content of %(count)s delivery", "Erase the content of %(count)s deliveries", "count"
            ),
            ngettext_lazy("%(count)s delivery was erased.", "%(count)s deliveries were erased.", "count"),
            _plan_erasure,
            lambda ids, using: withdraw.erase_content(ids, using=using),
            confirms_one=True,
        ),
    )
}


def applies_to(action: Action, delivery: Delivery) -> bool:
    """Return whether the delivery's page shows a button for the action."""
    match action.name:
        case "redeliver":
            return delivery.status in (DeliveryStatus.FAILED, DeliveryStatus.CANCELLED)
        case "cancel":
            return delivery.status == DeliveryStatus.PENDING
        case "resend":
            return delivery.profile_id is not None and delivery.endpoint.is_active
    return delivery.ended_at is not None
