"""The engine for the tests of host projects: it delivers only when a test calls ``live_push.testing.drain()``.

It has a module of its own because test settings name ``live_push.engines.manual.ManualEngine``.
"""

from __future__ import annotations

from .base import Engine


class ManualEngine(Engine):
    """Ignores every wake-up."""
