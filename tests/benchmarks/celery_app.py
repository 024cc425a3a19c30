"""The host's Celery app, for the peer that sends by Celery and for live_push's own engine."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("benchmarks")
app.conf.update(
    **json.loads(os.environ["LIVE_PUSH_BENCHMARK_CELERY"]),
    beat_schedule={"live-push-sweep": {"task": "live_push.sweep", "schedule": 1.0}},
)
app.set_default()
app.autodiscover_tasks()
