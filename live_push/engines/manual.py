"""Nothing is delivered until it is asked for: for tests of a host project, with ``live_push.testing.drain()``."""

from __future__ import annotations

from .base import Engine


class ManualEngine(Engine):
    """Ignores every wake-up."""
