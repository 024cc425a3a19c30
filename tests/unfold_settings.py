"""The same, with the admin under django-unfold."""

from __future__ import annotations

from .settings import *  # noqa: F403
from .settings import INSTALLED_APPS as STOCK_APPS
from .settings import MIDDLEWARE as STOCK_MIDDLEWARE

INSTALLED_APPS = ["unfold", *STOCK_APPS]
# The theme writes styles and scripts into its pages, so it can't live under the strict policy.
MIDDLEWARE = [name for name in STOCK_MIDDLEWARE if name != "tests.policy.StrictPolicy"]
LIVE_PUSH = {"ADMIN_BASE": "unfold.admin.ModelAdmin"}
