"""What an operator does with deliveries, one or many: redeliver, resend, cancel, erase.

Many are confirmed first, on a page that says how many and what is left out.
"""

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
    """What an action would do to the chosen deliveries: how many it takes on, by endpoint, and why not the others.

    ``oldest`` and ``newest`` are when those it takes on were recorded.
    """

    count: int
    by_endpoint: list[tuple[str, int]]
    left_out: list[tuple[str, int]] = field(default_factory=list)
    oldest: datetime | None = None
    newest: datetime | None = None
    taken: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Deed:
    """One action: its words, who may, what it would do, and the doing, which returns how many it took on."""

    name: str
    permission: str
    label: Any
    explanation: Any
    button: Any
    done: Any
    plan: Callable[[Collection[int], str], Plan]
    do: Callable[[Collection[int], str], int]
    asks: bool = False
    """Whether it is asked again also for a single one, because it can't be undone."""


def _plan(chosen: Collection[int], taken: Collection[int], left_out: Counter[str]) -> Plan:
    rows = list(Delivery.objects.filter(pk__in=taken).order_by().values_list("endpoint__name", "created_at"))
    recorded = [created_at for _name, created_at in rows]
    return Plan(
        len(taken),
        sorted(Counter(name for name, _created_at in rows).items()),
        list(left_out.most_common()),
        min(recorded, default=None),
        max(recorded, default=None),
        frozenset(taken),
    )


def _plan_redelivery(ids: Collection[int], using: str) -> Plan:
    would, skipped = reopen.plan(ids, using=using)
    return _plan(ids, would, Counter(_(item.why) for item in skipped))


def _redeliver(ids: Collection[int], using: str) -> int:
    return len(api.redeliver(ids)[0])


def _resendable(ids: Collection[int], using: str) -> QuerySet[Delivery]:
    return Delivery.objects.using(using).filter(pk__in=ids, profile__isnull=False, endpoint__is_active=True)


def _plan_resend(ids: Collection[int], using: str) -> Plan:
    chosen = Delivery.objects.using(using).filter(pk__in=ids)
    pairs: set[tuple[int, int | None]] = set()
    taken: list[int] = []
    left_out: Counter[str] = Counter()
    for pk, endpoint_id, profile_id, is_active in chosen.order_by("pk").values_list(
        "pk", "endpoint", "profile", "endpoint__is_active"
    ):
        if profile_id is None:
            left_out[_("its member was deleted")] += 1
        elif not is_active:
            left_out[_("its endpoint is disabled; resuming it sends the current state")] += 1
        elif (endpoint_id, profile_id) in pairs:
            left_out[_("the same member and endpoint are chosen already; the current state is sent once")] += 1
        else:
            pairs.add((endpoint_id, profile_id))
            taken.append(pk)
    return _plan(ids, taken, left_out)


def _resend(ids: Collection[int], using: str) -> int:
    members: dict[int, set[int]] = defaultdict(set)
    for endpoint_id, profile_id in _resendable(ids, using).values_list("endpoint", "profile"):
        members[endpoint_id].add(profile_id or 0)
    endpoints = ClientEndpoint.objects.using(using).in_bulk(members)
    return sum(
        api.push_profiles(UserProfile.objects.using(using).filter(pk__in=some), endpoints=[endpoints[endpoint_id]])
        for endpoint_id, some in members.items()
    )


def _plan_cancel(ids: Collection[int], using: str) -> Plan:
    chosen = Delivery.objects.using(using).filter(pk__in=ids)
    waiting = list(chosen.filter(status=DeliveryStatus.PENDING).values_list("pk", flat=True))
    others = len(ids) - len(waiting)
    return _plan(ids, waiting, Counter({_("it does not wait: it is being sent, or over"): others} if others else {}))


def _plan_erasure(ids: Collection[int], using: str) -> Plan:
    over = list(Delivery.objects.using(using).filter(pk__in=ids, ended_at__isnull=False).values_list("pk", flat=True))
    others = len(ids) - len(over)
    return _plan(ids, over, Counter({_("it is not over yet"): others} if others else {}))


DEEDS = {
    deed.name: deed
    for deed in (
        Deed(
            "redeliver",
            "resend_delivery",
            gettext_lazy("Redeliver: the same event again"),
            gettext_lazy(
                "Exactly what was sent then goes out again, with the same event id, by which the client knows what it "
                "has already. Where it accepted a newer state, nothing is sent."
            ),
            ngettext_lazy("Redeliver %(count)s delivery", "Redeliver %(count)s deliveries", "count"),
            ngettext_lazy("%(count)s delivery is sent again.", "%(count)s deliveries are sent again.", "count"),
            _plan_redelivery,
            _redeliver,
        ),
        Deed(
            "resend",
            "resend_delivery",
            gettext_lazy("Resend current profile"),
            gettext_lazy("What the member's profile is now goes out, as a new event."),
            ngettext_lazy("Resend %(count)s profile", "Resend %(count)s profiles", "count"),
            ngettext_lazy("%(count)s profile is sent again.", "%(count)s profiles are sent again.", "count"),
            _plan_resend,
            _resend,
        ),
        Deed(
            "cancel",
            "cancel_delivery",
            gettext_lazy("Cancel what waits"),
            gettext_lazy("It is not sent any more. The endpoint stays behind until the member is pushed again."),
            ngettext_lazy("Cancel %(count)s delivery", "Cancel %(count)s deliveries", "count"),
            ngettext_lazy("%(count)s delivery is cancelled.", "%(count)s deliveries are cancelled.", "count"),
            _plan_cancel,
            lambda ids, using: withdraw.cancel(ids, using=using),
            asks=True,
        ),
        Deed(
            "erase_content",
            "erase_delivery_content",
            gettext_lazy("Erase content"),
            gettext_lazy("Bodies and answers are erased for good; that something was sent, and when, stays."),
            ngettext_lazy(
                "Erase the content of %(count)s delivery", "Erase the content of %(count)s deliveries", "count"
            ),
            ngettext_lazy("%(count)s delivery was erased.", "%(count)s deliveries were erased.", "count"),
            _plan_erasure,
            lambda ids, using: withdraw.erase_content(ids, using=using),
            asks=True,
        ),
    )
}


def fits(deed: Deed, delivery: Delivery) -> bool:
    """Whether a button for this delivery makes sense."""
    over = delivery.ended_at is not None
    match deed.name:
        case "redeliver":
            return delivery.status in (DeliveryStatus.FAILED, DeliveryStatus.CANCELLED)
        case "cancel":
            return delivery.status == DeliveryStatus.PENDING
        case "resend":
            return delivery.profile_id is not None and delivery.endpoint.is_active
    return over
