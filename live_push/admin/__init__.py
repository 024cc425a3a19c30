"""The admin pages; importing this package registers them, as Django's autodiscovery does."""

from . import deliveries, endpoints, profiles, tiers

__all__ = ["deliveries", "endpoints", "profiles", "tiers"]
