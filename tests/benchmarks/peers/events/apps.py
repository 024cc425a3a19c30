"""An app, so that the relay knows the event."""

from __future__ import annotations

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "tests.benchmarks.peers.events"
    label = "benchmark_events"

    def ready(self) -> None:
        from . import declared  # noqa: F401
