"""A host project's Celery app, as the documentation describes it."""

from __future__ import annotations

import os

from celery import Celery


def make_app(broker: str, queue: str) -> Celery:
    app = Celery("host")
    app.conf.update(
        broker_url=broker,
        task_default_queue=queue,
        beat_schedule={
            "live-push-sweep": {"task": "live_push.sweep", "schedule": 1.0},
            "live-push-tiers": {"task": "live_push.tiers", "schedule": 1.0},
        },
    )
    app.autodiscover_tasks()
    return app


if "LIVE_PUSH_TEST_BROKER" in os.environ:
    app = make_app(os.environ["LIVE_PUSH_TEST_BROKER"], os.environ["LIVE_PUSH_TEST_QUEUE"])
