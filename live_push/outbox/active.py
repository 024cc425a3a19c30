"""The endpoints that something may be sent to, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from live_push.models import ClientEndpoint

from .compiled import IDS, Compiled, instance


def active_endpoints(ids: Sequence[int], *, using: str) -> list[ClientEndpoint]:
    """Those of these ids that are active, in the order of their ids: one statement."""
    return [instance(ClientEndpoint, row, using=using) for row in _select(using).fetch([*ids])]


@lru_cache(maxsize=8)
def _select(using: str) -> Compiled:
    return Compiled(ClientEndpoint.objects.active().filter(pk__in=IDS).order_by("pk"), IDS, using=using)
