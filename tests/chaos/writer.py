"""A process that saves members: ``python -m tests.chaos.writer FIRST LAST UPDATES SEED [--patient]``."""

from __future__ import annotations

import sys
import time
from random import Random

import django
from django.db import InterfaceError, OperationalError, connection, transaction


def write(first: int, last: int, updates: int, seed: int) -> None:
    """Save random profiles of this range, singly, in bulk, and in transactions that are rolled back."""

    random = Random(seed)
    for number in range(updates):
        profile_id = random.randint(first, last)
        try:
            _write_one(profile_id, f"{seed}-{number}", random.random())
        except (OperationalError, InterfaceError):
            if "--patient" not in sys.argv:
                raise
            # The database is being restarted: neither the change nor its push was written, or both were.
            connection.close()
            time.sleep(0.5)


def _write_one(profile_id: int, state: str, way: float) -> None:
    from live_push.models import UserProfile

    if way < 0.1:
        UserProfile.objects.filter(pk=profile_id).update(city=state)
        return
    with transaction.atomic():
        profile = UserProfile.objects.select_for_update().get(pk=profile_id)
        profile.city = state
        profile.save()
        if way > 0.9:
            transaction.set_rollback(True)


if __name__ == "__main__":
    django.setup()
    write(*map(int, sys.argv[1:5]))
