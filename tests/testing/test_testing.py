"""What host projects test with, and that the documented example runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase, override_settings

from live_push import api, testing
from live_push.models import Attempt, ClientEndpoint, Delivery, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.testing import Answer, EndpointServer, captured_pushes, drain
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

ROOT = Path(__file__).parents[2]


class InOneTransaction(TestCase):
    """Django's own test case: whatever it saves, nothing is ever committed."""

    def setUp(self) -> None:
        self.endpoint = ClientEndpointFactory(name="crm")
        self.member = UserProfileFactory(city="Graz")

    def test_a_save_is_captured_with_its_body_and_its_endpoints(self) -> None:
        ClientEndpointFactory(name="another")
        ClientEndpointFactory(name="sleeping", is_active=False)
        with captured_pushes() as pushes:
            self.member.city = "Linz"
            self.member.save()
        (push,) = pushes
        assert (push.profile_id, push.trigger, push.error) == (self.member.pk, "updated", "")
        assert (push.payload["id"], push.payload["city"]) == (self.member.pk, "Linz")
        assert push.endpoints == ("another", "crm")

    def test_what_was_saved_before_the_block_is_not_captured_and_does_not_hide_what_is(self) -> None:
        with captured_pushes() as pushes:
            pass
        assert pushes == []
        self.member.save()
        with captured_pushes() as pushes:
            self.member.save()
        assert [push.trigger for push in pushes] == ["updated"]

    def test_two_saves_in_a_block_are_one_push_with_the_last_state(self) -> None:
        with captured_pushes() as pushes:
            for city in ("Linz", "Wien"):
                self.member.city = city
                self.member.save()
        assert [push.payload["city"] for push in pushes] == ["Wien"]

    def test_each_block_is_a_commit_of_its_own(self) -> None:
        for city in ("Linz", "Wien"):
            with captured_pushes() as pushes:
                self.member.city = city
                self.member.save()
            assert [push.payload["city"] for push in pushes] == [city]
        self.member.save()
        assert Delivery.objects.filter(profile=self.member).count() == 4

    def test_what_is_rolled_back_is_not_captured(self) -> None:
        with captured_pushes() as pushes, pytest.raises(ZeroDivisionError), transaction.atomic():
            self.member.save()
            1 / 0  # noqa: B018
        assert pushes == []

    def test_a_block_that_raises_captures_nothing_and_hides_nothing(self) -> None:
        with pytest.raises(ZeroDivisionError), captured_pushes() as pushes:
            self.member.save()
            1 / 0  # noqa: B018
        assert pushes == []

    def test_a_member_deleted_inside_the_block_leaves_nothing(self) -> None:
        with captured_pushes() as pushes:
            self.member.save()
            self.member.delete()
        assert pushes == []

    def test_bulk_writes_are_captured_in_the_order_of_the_members(self) -> None:
        other = UserProfileFactory()
        with captured_pushes() as pushes:
            UserProfile.objects.update(city="Wien")
        assert [(push.profile_id, push.payload["city"]) for push in pushes] == [
            (self.member.pk, "Wien"),
            (other.pk, "Wien"),
        ]

    def test_a_resend_shows_the_body_that_it_would_have(self) -> None:
        with captured_pushes() as pushes:
            api.push_profile(self.member)
        (push,) = pushes
        assert (push.trigger, push.payload["city"]) == ("resend", "Graz")

    def test_the_body_is_that_of_the_contract(self) -> None:
        with captured_pushes() as pushes:
            self.member.date_mobile_verified = START
            self.member.save()
        assert pushes[0].payload["dateMobileVerified"] == 1

    def test_a_body_that_can_not_be_built_says_why(self) -> None:
        with captured_pushes() as pushes:
            UserProfile.objects.filter(pk=self.member.pk).update(custom_data={"deep": {"er": 1}})
        (push,) = pushes
        assert (push.payload, push.endpoints) == ({}, ("crm",))
        assert "customData" in push.error

    def test_without_an_active_endpoint_nothing_is_captured(self) -> None:
        ClientEndpoint.objects.update(is_active=False)
        with captured_pushes() as pushes:
            self.member.save()
        assert pushes == []

    def test_what_is_due_can_be_delivered_inside_it(self) -> None:
        with EndpointServer() as client, override_settings(LIVE_PUSH=client.settings):
            ClientEndpoint.objects.filter(pk=self.endpoint.pk).update(url=client.url)
            assert drain() == 1
            assert drain() == 0
        assert [received.json()["city"] for received in client.received] == ["Graz"]
        assert Delivery.objects.get().status == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_each_save_is_a_push() -> None:
    ClientEndpointFactory()
    member = UserProfileFactory()
    with captured_pushes() as pushes:
        member.save()
        member.save()
    assert [push.trigger for push in pushes] == ["updated", "updated"]


@pytest.fixture
def client() -> Any:
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        yield server


@pytest.mark.django_db(transaction=True)
def test_a_moved_clock_brings_the_retries_each_at_its_time(client: EndpointServer) -> None:
    client.script([500, 500, 500])
    with stopped(START):
        ClientEndpointFactory(url=client.url)
        UserProfileFactory()
        assert drain() == 1
        assert drain(until=START + timedelta(seconds=9)) == 0
        # The first hour of the default policy: 10 s, then a minute, then ten from the start.
        assert drain(until=START + timedelta(hours=1)) == 3
    seconds = [(attempt.started_at - START).total_seconds() for attempt in Attempt.objects.order_by("number")]
    assert seconds[:2] == [0, 10]
    assert seconds == sorted(seconds)
    assert Delivery.objects.get().status == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_a_moved_clock_lets_an_endpoint_rest_and_come_back(client: EndpointServer) -> None:
    client.script([Answer(503, headers={"Retry-After": "600"})])
    with stopped(START):
        ClientEndpointFactory(url=client.url)
        UserProfileFactory.create_batch(2)
        assert drain(until=START + timedelta(minutes=9)) <= 2
        drain(until=START + timedelta(minutes=11))
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


@pytest.mark.django_db(transaction=True)
def test_a_moved_clock_follows_a_rate_limit(client: EndpointServer) -> None:
    with stopped(START):
        ClientEndpointFactory(url=client.url, rate_limit_per_second=1)
        UserProfileFactory.create_batch(3)
        assert drain() == 1
        assert drain(until=START + timedelta(seconds=1)) == 1
        assert drain(until=START + timedelta(seconds=5)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_later_call_goes_on_from_the_moment_that_an_earlier_one_reached(client: EndpointServer) -> None:
    client.script([500, 500])
    ClientEndpointFactory(url=client.url)
    first = UserProfileFactory()
    assert drain(until=db_now("default") + timedelta(hours=1)) == 3
    # What is saved now is due, however early the second call ends.
    second = UserProfileFactory()
    assert drain(until=db_now("default") + timedelta(seconds=1)) == 1
    first.save()
    assert drain() == 1
    attempts = Attempt.objects.order_by("pk").values_list("delivery__profile", "started_at")
    assert [profile for profile, _ in attempts] == [first.pk, first.pk, first.pk, second.pk, first.pk]
    moments = [moment for _, moment in attempts]
    assert moments == sorted(moments)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds", [0, 2])
def test_a_later_call_gets_no_new_allowance_of_a_rate_limit(client: EndpointServer, seconds: int) -> None:
    with stopped(START):
        ClientEndpointFactory(url=client.url, rate_limit_per_second=1)
        UserProfileFactory.create_batch(6)
        assert drain(until=START + timedelta(seconds=2)) == 3
        # It is two seconds after the start in here, whatever the real clock says.
        assert drain() == 0
        assert drain(until=START + timedelta(seconds=seconds)) == 0
        assert drain(until=START + timedelta(seconds=3)) == 1


class OneAfterTheOther(TestCase):
    """Two tests of one class, whose endpoint is made once: what one reached, the other does not start from."""

    @classmethod
    def setUpTestData(cls) -> None:
        ClientEndpointFactory(rate_limit_per_second=1)

    def reach(self) -> None:
        with EndpointServer() as client, override_settings(LIVE_PUSH=client.settings), stopped(START):
            ClientEndpoint.objects.update(url=client.url)
            UserProfileFactory.create_batch(2)
            assert drain(until=START + timedelta(seconds=1)) == 2
        assert Attempt.objects.earliest("pk").started_at == START

    def test_one(self) -> None:
        self.reach()

    def test_the_other(self) -> None:
        self.reach()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_twice_and_the_clock_is_given_back(client: EndpointServer) -> None:
    ClientEndpointFactory(url=client.url)
    UserProfileFactory()
    now = db_now("default")
    assert drain(until=now + timedelta(days=3)) == 1
    assert drain(until=now - timedelta(days=3)) == 0
    assert db_now("default") < now + timedelta(days=1)


def test_it_needs_no_package_that_only_tests_need() -> None:
    script = (
        "import sys, django\n"
        "for name in ('pytest', 'pytest_django', 'factory', 'responses', 'hypothesis', 'environ'):\n"
        "    sys.modules[name] = None\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'live_push'])\n"
        "django.setup()\n"
        "import live_push.testing\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)  # noqa: S603


def test_its_public_names_are_these() -> None:
    names = ["Answer", "CapturedPush", "EndpointServer", "Hold", "Received", "Reset", "captured_pushes", "drain"]
    assert testing.__all__ == names


@pytest.mark.django_db(transaction=True)
def test_the_documented_example_runs_as_it_stands() -> None:
    setting, example = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/testing.md").read_text(), re.MULTILINE | re.DOTALL
    )
    configured: dict[str, Any] = {}
    exec(setting, configured)  # noqa: S102  (our own documentation)
    names: dict[str, Any] = {"__name__": "documented"}
    exec(example, names)  # noqa: S102
    suite = unittest.TestLoader().loadTestsFromTestCase(names["PurchaseTests"])
    result = unittest.TestResult()
    with override_settings(LIVE_PUSH=configured["LIVE_PUSH"]):
        suite.run(result)
    assert [trace for _test, trace in result.errors + result.failures] == []
    assert result.testsRun == 3
