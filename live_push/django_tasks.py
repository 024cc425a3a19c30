"""The clock of the tiers as a task of Django's task framework. Let the host's scheduler call ``tiers.enqueue()``."""

from __future__ import annotations

from . import api

try:
    from django.tasks import task
except ImportError:
    # Django 5.2 needs a package for them.
    from django_tasks import task  # type: ignore[assignment, import-not-found, no-redef, unused-ignore]


@task
def tiers() -> int:
    """Apply the tier expiries and resets that are due, like ``live_push_tiers``; return how many members changed.

    If the tiers of a program do not form a ladder, it raises an error after all others are done.
    """
    return api.apply_due_tier_changes()
