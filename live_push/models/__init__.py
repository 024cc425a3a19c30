"""One file for each family of nouns; these are the public names."""

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
    WorkerHeartbeat,
)
from .endpoints import AuthMethod, ClientEndpoint, Confirmation, EndpointHealth, Ordering
from .profiles import UserProfile
from .statistics import EndpointHour
from .tiers import Tier, TierEvent, TierMembership, TierProgram

__all__ = [
    "Attempt",
    "AttemptTrigger",
    "AuthMethod",
    "ClientEndpoint",
    "Confirmation",
    "Delivery",
    "DeliveryQuerySet",
    "DeliveryReason",
    "DeliveryStatus",
    "EndpointHealth",
    "EndpointHour",
    "Ordering",
    "Priority",
    "Push",
    "PushTrigger",
    "Tier",
    "TierEvent",
    "TierMembership",
    "TierProgram",
    "UserProfile",
    "WorkerHeartbeat",
]
