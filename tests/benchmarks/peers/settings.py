"""Django settings of a peer's processes: those of the measurement, and what the peer's documentation asks for."""

from __future__ import annotations

import os

import requests.adapters

from tests.benchmarks.settings import *  # noqa: F403
from tests.benchmarks.settings import INSTALLED_APPS as APPS

peer = os.environ["LIVE_PUSH_BENCHMARK_PEER"]
if peer == "django_webhook":
    INSTALLED_APPS = [*APPS, "django_webhook"]
    DJANGO_WEBHOOK = {"MODELS": ["rows.Bare"]}
    # It sends by Session.send(), which never looks at REQUESTS_CA_BUNDLE.
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = os.environ["REQUESTS_CA_BUNDLE"]
else:
    INSTALLED_APPS = [*APPS, "django_domain_events", "django_outbound_webhooks", "tests.benchmarks.peers.events"]
    DJANGO_OUTBOUND_WEBHOOKS = {"ALLOW_PRIVATE_ADDRESSES": True}
