"""The tables of the database, one file for each family of models. These are the public names."""

from .audience import Audience, ListedBranding
from .confirmations import Confirmation
from .credentials import AuthMethod
from .deliveries import (
    Attempt,
    AttemptTrigger,
    Delivery,
    DeliveryQuerySet,
    DeliveryReason,
    DeliveryStatus,
    Priority,
    Push,
    PushTrigger,
)
from .endpoint_state import EndpointState
from .endpoints import ClientEndpoint, Ordering
from .health import EndpointHealth
from .hours import EndpointHour
from .profiles import UserProfile
from .stored_convergence import StoredConvergence
from .tiers import Tier, TierEvent, TierMembership, TierProgram
from .workers import WorkerHeartbeat

__all__ = [
    "Attempt",
    "AttemptTrigger",
    "Audience",
    "AuthMethod",
    "ClientEndpoint",
    "Confirmation",
    "Delivery",
    "DeliveryQuerySet",
    "DeliveryReason",
    "DeliveryStatus",
    "EndpointHealth",
    "EndpointHour",
    "EndpointState",
    "ListedBranding",
    "Ordering",
    "Priority",
    "Push",
    "PushTrigger",
    "StoredConvergence",
    "Tier",
    "TierEvent",
    "TierMembership",
    "TierProgram",
    "UserProfile",
    "WorkerHeartbeat",
]
