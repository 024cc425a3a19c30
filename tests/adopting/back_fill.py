"""How fast a site fills its profiles, and how much memory that takes; prints figures as one line of JSON.

Runs inside the site, by ``manage.py test``, with the number of members in ``SITE_MEMBERS``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import uuid
from collections.abc import Callable
from uuid import UUID

from django.core.management import call_command
from django.test import TransactionTestCase
from members.mirror import mirror_all
from members.models import Brand, Member, MemberProfile

from live_push.models import ClientEndpoint, Delivery, Push, UserProfile

STEP = 5000
MIDDLE = UUID(int=1 << 127)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class BackFill(TransactionTestCase):
    def test_figures(self) -> None:
        members = int(os.environ["SITE_MEMBERS"])
        brand = Brand.objects.create(code="north", name="North")

        def insert() -> None:
            for start in range(0, members, STEP):
                numbers = range(start, min(start + STEP, members))
                Member.objects.bulk_create(
                    Member(pk=uuid.uuid4(), brand=brand, email=f"m{number}@example.com", given_name="Ada")
                    for number in numbers
                )

        inserted = seconds(insert)
        first_half = seconds(lambda: mirror_all(Member.objects.filter(pk__lt=MIDDLE)))
        peak = peak_mb()
        filled = first_half + seconds(lambda: mirror_all(Member.objects.filter(pk__gte=MIDDLE)))
        further = peak_mb() - peak
        self.assertEqual((UserProfile.objects.count(), MemberProfile.objects.count()), (members, members))
        self.assertFalse(Push.objects.exists())
        compared = seconds(mirror_all)

        ClientEndpoint.objects.create(name="CRM", url="https://crm.example.com/")
        options = {"all": True, "yes": True, "endpoint": ["CRM"], "rate": 50, "verbosity": 0}
        recorded = seconds(lambda: call_command("resend_profile", **options))
        self.assertEqual(Delivery.objects.count(), members)
        figures = {
            "members": members,
            "members_inserted_per_second": round(members / inserted),
            "profiles_filled_per_second": round(members / filled),
            "fill_to_insert": round(filled / inserted, 2),
            "profiles_compared_per_second": round(members / compared),
            "recorded_at_a_rate_per_second": round(members / recorded),
            "peak_mb": round(peak + further),
            "further_peak_mb": round(further, 1),
        }
        sys.stdout.write(f"\n{json.dumps(figures)}\n")
