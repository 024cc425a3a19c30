"""The suite's settings for workers in processes of their own: on the test database, with the test's endpoints."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

DATABASES["default"]["NAME"] = os.environ["LIVE_PUSH_TEST_DATABASE"]
if "LIVE_PUSH_TEST_DATABASE_PORT" in os.environ:
    # Of a proxy in front of the database.
    DATABASES["default"] |= {"HOST": "127.0.0.1", "PORT": os.environ["LIVE_PUSH_TEST_DATABASE_PORT"]}
ALLOWED_HOSTS = ["127.0.0.1"]
LIVE_PUSH = json.loads(os.environ["LIVE_PUSH_TEST_SETTINGS"])

if "LIVE_PUSH_TEST_TASKS" in os.environ:
    INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_db"]
    TASKS = json.loads(os.environ["LIVE_PUSH_TEST_TASKS"])
