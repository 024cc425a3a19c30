"""In a peer's process: ``python -m tests.benchmarks.peers.inside PACKAGE prepare|saves|backlog``.

Reads what else it needs as a JSON object, and prints one as its last line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"


class Sender(Protocol):
    """How a host uses a peer."""

    def subscribe(self, urls: list[str]) -> None:
        """Exactly these endpoints are told of every saved row."""

    def save(self, row: Any) -> None:
        """Save a row so that the peer hears of it."""

    def forget(self) -> None:
        """Delete what was recorded."""


class DjangoWebhook:
    """It listens to ``post_save`` by itself."""

    def subscribe(self, urls: list[str]) -> None:
        from django_webhook.models import Webhook, WebhookTopic, populate_topics_from_settings

        populate_topics_from_settings()
        Webhook.objects.all().delete()
        for url in urls:
            webhook = Webhook.objects.create(url=url)
            webhook.topics.add(WebhookTopic.objects.get(name="rows.Bare/update"))
            webhook.secrets.create(token=SECRET)

    def save(self, row: Any) -> None:
        row.save()

    def forget(self) -> None:
        from django_webhook.models import WebhookEvent

        WebhookEvent.objects.all().delete()


class DjangoOutboundWebhooks:
    """Its host fires an event in the transaction of the change."""

    def subscribe(self, urls: list[str]) -> None:
        from django_outbound_webhooks import register_endpoint
        from django_outbound_webhooks.models import Endpoint

        from .events.declared import NAME

        Endpoint.objects.all().delete()
        for number, url in enumerate(urls):
            register_endpoint(name=f"client {number}", url=url, secret=SECRET, event_names=[NAME])

    def save(self, row: Any) -> None:
        from django.db import transaction

        from .events.declared import tell

        with transaction.atomic():
            row.save()
            tell(row)

    def forget(self) -> None:
        from django_domain_events.models import DeliveryRecord, EventRecord
        from django_outbound_webhooks.models import DeliveryAttempt

        for model in (DeliveryAttempt, DeliveryRecord, EventRecord):
            model.objects.all().delete()


SENDERS: dict[str, type[Sender]] = {
    "django_webhook": DjangoWebhook,
    "django_outbound_webhooks": DjangoOutboundWebhooks,
}


def prepare(sender: Sender, given: dict[str, Any]) -> dict[str, float]:
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    return {}


def saves(sender: Sender, given: dict[str, Any]) -> dict[str, float]:
    from tests.benchmarks.rows.models import Bare

    row = Bare.objects.get(pk=given["row"])
    sender.subscribe(given["urls"])
    # The first save connects and fills caches.
    sender.save(row)
    began = time.perf_counter()
    for count in range(given["number"]):
        row.city = f"city {count}"
        sender.save(row)
    seconds = time.perf_counter() - began
    sender.forget()
    return {"microseconds": seconds / given["number"] * 1e6}


def backlog(sender: Sender, given: dict[str, Any]) -> dict[str, float]:
    from tests.benchmarks.rows.models import Bare

    sender.forget()
    sender.subscribe(given["urls"])
    rows = Bare.objects.filter(pk__in=given["ids"])
    for row in rows:
        sender.save(row)
    return {"recorded": len(rows)}


DEEDS: dict[str, Callable[[Sender, dict[str, Any]], dict[str, float]]] = {
    "prepare": prepare,
    "saves": saves,
    "backlog": backlog,
}


def main(package: str, what: str) -> None:
    given = json.load(sys.stdin)
    if package == "django_webhook":
        # As in Celery's guide for Django: the host's app is there before any task is sent.
        from tests.benchmarks import celery_app  # noqa: F401
    import django

    django.setup()
    print(json.dumps(DEEDS[what](SENDERS[package](), given)))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
