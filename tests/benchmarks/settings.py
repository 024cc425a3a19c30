"""Django settings of a benchmark and of the processes it starts; what differs comes in the environment."""

from __future__ import annotations

import json
import os

import environ

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS

given = json.loads(os.environ["LIVE_PUSH_BENCHMARK"])

DATABASES = {"default": environ.Env.db_url_config(given["database_url"])}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
elif DATABASES["default"]["ENGINE"].endswith("mysql"):
    DATABASES["default"]["OPTIONS"] = {"charset": "utf8mb4"}

INSTALLED_APPS = [*APPS, "tests.benchmarks.rows"]
LIVE_PUSH = {
    "ALLOWED_PORTS": None,
    "ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8"],
    "CA_BUNDLE": given["authority"],
    **given["live_push"],
}
