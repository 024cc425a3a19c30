"""The clock of the tiers as one of Django's own tasks: ``tiers.enqueue()`` by whatever schedules the host's tasks."""

from __future__ import annotations

from . import api

try:
    from django.tasks import task
except ImportError:
    # Django 5.2 has them as a package.
    from django_tasks import task  # type: ignore[assignment, import-not-found, no-redef, unused-ignore]


@task
def tiers() -> int:
    """Apply the tier expiries and resets that are due, as ``live_push_tiers`` does; returns how many members changed.

    Fails after the rest is done where a program is no ladder.
    """
    return api.apply_due_tier_changes()
