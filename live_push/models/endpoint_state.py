"""The state of an endpoint in one word, computed for a row and as a condition of a query, with the same result."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .clock import DbNow
from .endpoints import ClientEndpoint
from .health import EndpointHealth


class EndpointState(TextChoices):
    """Whether pushes may be sent to an endpoint now, and if not, why.

    ``active``
        Pushes may be sent. While the breaker is open and its rest is over, one push at a time is sent, as a probe.
    ``resting``
        Nothing is sent before ``rests_until``: the breaker is open, its probe is in flight, or the client asked for a
        rest.
    ``needs_credentials``
        Nothing is sent until the endpoint's secrets can be read again.
    ``disabled``
        Nothing is sent until the endpoint is enabled again.
    """

    ACTIVE = "active", pgettext_lazy("endpoint", "active")
    RESTING = "resting", _("resting")
    NEEDS_CREDENTIALS = "needs_credentials", _("needs credentials")
    DISABLED = "disabled", _("disabled")


def state_of(endpoint: ClientEndpoint, health: EndpointHealth, now: datetime) -> EndpointState:
    """Return the state of an endpoint."""
    if not endpoint.is_active:
        return EndpointState.DISABLED
    if health.needs_credentials:
        return EndpointState.NEEDS_CREDENTIALS
    is_resting = health.rests_until is not None and health.rests_until > now
    return EndpointState.RESTING if is_resting else EndpointState.ACTIVE


def has_rested(now: datetime | DbNow) -> Q:
    """Return the condition on endpoints that no rest is under way."""
    return Q(health__rests_until=None) | Q(health__rests_until__lte=now)


def in_state(state: EndpointState, now: datetime | DbNow) -> Q:
    """Return the condition on endpoints that :func:`state_of` gives this state."""
    switched_on = Q(is_active=True)
    can_log_in = switched_on & Q(health__needs_credentials=False)
    return {
        EndpointState.DISABLED: Q(is_active=False),
        EndpointState.NEEDS_CREDENTIALS: switched_on & Q(health__needs_credentials=True),
        EndpointState.RESTING: can_log_in & Q(health__rests_until__gt=now),
        EndpointState.ACTIVE: can_log_in & has_rested(now),
    }[state]
