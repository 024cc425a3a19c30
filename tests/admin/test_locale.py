"""Numbers and dates as the reader's language and the site's settings have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import translation

from live_push.admin.shared import formatting
from live_push.models import Delivery, EndpointHour
from live_push.models.clock import stopped
from live_push.rules import retry
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import START, deliver, status

from .pages import all_pages, url

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 1_234_567
GERMAN = {"accept-language": "de"}


@pytest.fixture(autouse=True)
def _language_stays_here() -> Iterator[None]:
    with translation.override(translation.get_language()):
        yield


@pytest.fixture
def high_ids() -> None:
    """A world whose ids are so high that thousands could be grouped in them."""
    TierProgramFactory(pk=LONG)
    ClientEndpointFactory(pk=LONG)
    UserProfileFactory(pk=LONG)
    Delivery.objects.update(id=LONG)
    deliver(status(500))


def test_no_id_is_grouped_where_thousands_are(boss: Client, high_ids: None) -> None:
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        for name, address in all_pages().items():
            page = boss.get(address).content.decode()
            named = "".join(re.findall(r'(?:href|action|value|name|id|for)="[^"]*"', page))
            assert "1,234,567" not in named, name
            assert "#1,234,567" not in page, name


@pytest.mark.parametrize(
    ("grouped", "headers", "told"),
    [
        pytest.param(False, {}, "99.9 % of 1234567", id="English"),
        pytest.param(True, {}, "99.9 % of 1,234,567", id="English, grouped"),
        pytest.param(False, GERMAN, "99,9 % von 1234567", id="German"),
        pytest.param(True, GERMAN, "99,9 % von 1.234.567", id="German, grouped"),
    ],
)
def test_numbers_are_those_of_the_language_and_the_site(
    boss: Client, grouped: bool, headers: dict[str, str], told: str
) -> None:
    endpoint = ClientEndpointFactory()
    EndpointHour.objects.create(endpoint=endpoint, hour=START, within_ms=10, attempts=LONG - 1)
    EndpointHour.objects.create(endpoint=endpoint, hour=START, within_ms=10, attempts=1, error_code="timeout")
    with stopped(START), override_settings(USE_THOUSAND_SEPARATOR=grouped):
        page = boss.get(url("overview"), headers=headers).content.decode()
    assert told in page


@pytest.mark.parametrize(
    ("headers", "today", "before"),
    [
        pytest.param({}, "noon UTC", "March 1, 2026, noon UTC", id="English"),
        pytest.param(GERMAN, "12:00 UTC", "1. März 2026 12:00 UTC", id="German"),
    ],
)
def test_moments_are_told_in_djangos_formats(boss: Client, headers: dict[str, str], today: str, before: str) -> None:
    with stopped(START):
        ClientEndpointFactory()
        UserProfileFactory()
    for day, told in ((1, today), (2, before)):
        with stopped(START.replace(day=day, hour=13)):
            page = boss.get(url("delivery_change", Delivery.objects.get().pk), headers=headers).content.decode()
        assert f'<span class="lp-quiet">{told}</span></time>' in page


def test_a_schedule_is_told_in_the_languages_numbers() -> None:
    policy: Any = retry.policy("own", {"own": [0.5, 5400]})
    with translation.override("de"):
        assert formatting.schedule(policy).startswith("sofort, dann nach 0,5 Sek., 90 Min.")
