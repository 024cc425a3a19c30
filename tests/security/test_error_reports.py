"""The database fails at each query in turn, and no error report that follows shows a secret.

The reports are those that Django mails to the administrators: HTML with the local variables of every frame, ``DEBUG``
off. The same frames are read without Django's filter as well, as Sentry reads them.
"""

from __future__ import annotations

import itertools
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from cryptography.fernet import MultiFernet
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.signals import got_request_exception
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.urls import reverse
from django.views.debug import ExceptionReporter

from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint, Delivery, EndpointHealth, UserProfile
from live_push.secrets.keyring import _fernets
from tests.factories import UserProfileFactory
from tests.support import OK, ScriptedTransport, deliver, status

from . import marker
from .journey import typed_key
from .marker import Places
from .witnesses import below_the_tests

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = {"SECRET_KEYS": [marker.SITE_KEY], "ENCRYPT_PAYLOADS": True}
MOST_QUERIES = 200


class Reports(logging.Handler):
    """Writes a report of each error that a request or a log record ends in."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.places = Places()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.places.add("log", self.format(record))
        if record.exc_info and record.exc_info[1] is not None:
            self.of(record.exc_info[1], getattr(record, "request", None))

    def of(self, error: BaseException, request: Any = None) -> None:
        """The report of one error."""
        self.count += 1
        frames = below_the_tests(error.__traceback__)
        reporter = ExceptionReporter(request, type(error), error, frames, is_email=True)
        self.places.add("HTML", reporter.get_traceback_html())
        self.places.add("text", reporter.get_traceback_text())
        for frame, line in traceback.walk_tb(frames):
            for name, value in frame.f_locals.items():
                with suppress(Exception):
                    self.places.add(f"{frame.f_code.co_filename}:{line} {name}", repr(value))


@contextmanager
def failing_at(number: int) -> Iterator[list[str]]:
    """The query of this number fails; yields the list that it is then noted in."""
    numbers, failed = itertools.count(), list[str]()

    def execute(run: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if next(numbers) == number:
            failed.append(sql)
            raise OperationalError("server closed the connection unexpectedly")
        return run(sql, *rest)

    with connection.execute_wrapper(execute):
        yield failed


@pytest.fixture
def reports() -> Iterator[Reports]:
    """What the administrators are mailed."""
    reports = Reports()

    def request_failed(request: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        reports.of(error, request)

    logger = logging.getLogger()
    logger.addHandler(reports)
    got_request_exception.connect(request_failed)
    yield reports
    got_request_exception.disconnect(request_failed)
    logger.removeHandler(reports)


@pytest.fixture
def browser(client: Client, django_user_model: Any) -> Client:
    """An administrator's."""
    client.raise_request_exception = False
    client.force_login(django_user_model.objects.create_superuser("boss"))
    return client


@pytest.fixture(autouse=True)
def _world() -> Iterator[None]:
    """One endpoint for each kind of login, both signed with two secrets, and a member whose push waits for each."""
    known = mock.patch.object(signing_secrets, "secret_from", return_value=marker.SIGNING_SECRET)
    with override_settings(LIVE_PUSH=SETTINGS), known:
        common = {"url": "https://push.example.com/", "retry_policy": "standard_webhooks"}
        ClientEndpoint(name="basic", auth_method="basic", username="us", password=marker.PASSWORD, **common).save()
        ClientEndpoint(name="key", auth_method="api_key", api_key=marker.API_KEY, **common).save()
        for endpoint in ClientEndpoint.objects.all():
            for _ in range(2):
                signing_secrets.rotate(endpoint)
        UserProfileFactory(third_party_id=None)
        ClientEndpoint(name="unused", auth_method="api_key", api_key=marker.API_KEY, **common).save()
        yield


@pytest.fixture(params=[pytest.param(1, id="each", marks=pytest.mark.slow), pytest.param(4, id="each fourth")])
def step(request: pytest.FixtureRequest) -> int:
    """Of how many queries one fails."""
    return int(request.param)


def break_queries_of(way: Callable[[], object], reports: Reports, step: int) -> int:
    """Go a way again and again, each time with the next query in turn failing; returns how many failed."""
    for broken, number in enumerate(range(0, MOST_QUERIES, step)):
        cache.clear()
        with failing_at(number) as failed:
            try:
                way()
            except OperationalError as error:
                reports.of(error)
        if not failed:
            return broken
    raise AssertionError("There is no end to its queries.")


def page(name: str, *ids: object) -> str:
    return reverse(f"admin:live_push_{name}", args=ids)


def pages() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every page that handles a secret: the method, the address, the data."""
    key = ClientEndpoint.objects.get(name="key").pk
    change = typed_key(name="key", url="https://push.example.com/")
    unused = ClientEndpoint.objects.get(name="unused").pk
    profile = UserProfile.objects.earliest("pk").pk
    return {
        "a new endpoint": ("post", page("clientendpoint_add"), typed_key()),
        "a new endpoint with a password": (
            "post",
            page("clientendpoint_add"),
            typed_key(auth_method="basic", username="us", new_password=marker.PASSWORD, new_api_key=""),
        ),
        "a new endpoint, refused": ("post", page("clientendpoint_add"), typed_key(url="http://push.example.com/")),
        "a new secret": ("post", page("clientendpoint_change", key), change),
        "an endpoint": ("get", page("clientendpoint_change", key), {}),
        "the endpoints": ("get", page("clientendpoint_changelist"), {}),
        "pausing": ("post", page("clientendpoint_switch", key), {"to": "pause"}),
        "resuming": ("post", page("clientendpoint_switch", key), {"to": "resume"}),
        "deleting": ("post", page("clientendpoint_delete", unused), {"post": "yes"}),
        "the overview": ("get", page("overview"), {}),
        "a test push, shown": ("get", page("clientendpoint_test", key), {}),
        "a test push, sent": ("post", page("clientendpoint_test", key), {"member": ""}),
        "an endpoint's preview": ("get", page("clientendpoint_preview", key), {}),
        "a member's preview": ("get", f"{page('userprofile_preview', profile)}?endpoint={key}", {}),
        "the signing secret": ("get", page("clientendpoint_signing", key), {}),
        "a rotated signing secret": (
            "post",
            page("clientendpoint_signing", key),
            {"overlap_hours": "24", "force": "on"},
        ),
        "no more signing": ("post", page("clientendpoint_signing", key), {"remove": "1"}),
        "a delivery": ("get", page("delivery_change", Delivery.objects.latest("pk").pk), {}),
    }


PAGES = [
    "a new endpoint",
    "a new endpoint with a password",
    "a new endpoint, refused",
    "a new secret",
    "an endpoint",
    "the endpoints",
    "pausing",
    "resuming",
    "deleting",
    "the overview",
    "a test push, shown",
    "a test push, sent",
    "an endpoint's preview",
    "a member's preview",
    "the signing secret",
    "a rotated signing secret",
    "no more signing",
    "a delivery",
]


@pytest.mark.parametrize("name", PAGES)
def test_no_page_that_handles_a_secret_shows_it_in_an_error_report(
    name: str, step: int, browser: Client, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_push.admin.endpoints.test_pushes.make_transport", lambda: ScriptedTransport(OK))
    method, address, data = pages()[name]
    answers = []
    broken = break_queries_of(lambda: answers.append(getattr(browser, method)(address, data)), reports, step)
    assert broken > 3 // step
    assert reports.count > 3 // step
    assert answers[-1].status_code in (200, 302), answers[-1].content
    assert reports.places.leaks() == set()


def sending() -> None:
    EndpointHealth.objects.update(breaker_state="closed", failures_in_row=0, rests_until=None)
    UserProfileFactory()
    deliver(status(500, marker.API_KEY.encode()), OK)


def rotating_all() -> None:
    with override_settings(LIVE_PUSH={**SETTINGS, "SECRET_KEYS": [marker.SITE_KEY + "2", marker.SITE_KEY]}):
        call_command("live_push_rotate_keys")


def saving() -> None:
    endpoint = ClientEndpoint.objects.get(name="key")
    endpoint.api_key = marker.API_KEY + "2"
    endpoint.full_clean()
    endpoint.save()


def signing_again() -> None:
    signing_secrets.rotate(ClientEndpoint.objects.get(name="basic"), force=True)


def erasing() -> None:
    UserProfileFactory().delete()


@pytest.mark.parametrize("way", [sending, rotating_all, saving, signing_again, erasing], ids=lambda way: way.__name__)
def test_no_way_of_a_secret_shows_it_in_an_error_report(way: Callable[[], None], step: int, reports: Reports) -> None:
    broken = break_queries_of(way, reports, step)
    assert broken > 3 // step
    assert reports.count > 3 // step
    assert reports.places.leaks() == set()


@contextmanager
def no_key_can_be_derived() -> Iterator[None]:
    _fernets.cache_clear()
    with mock.patch.object(HKDF, "derive", side_effect=RuntimeError("out of memory")):
        yield


ENCRYPTION_FAULTS = {
    "wrong settings": lambda: override_settings(LIVE_PUSH={"SECRET_KEYS": [marker.SITE_KEY, None]}),
    "no key can be derived": no_key_can_be_derived,
    "nothing can be encrypted": lambda: mock.patch.object(
        MultiFernet, "encrypt", side_effect=RuntimeError("no entropy")
    ),
}


@pytest.mark.parametrize("name", ENCRYPTION_FAULTS)
def test_a_fault_of_the_encryption_shows_no_secret_in_an_error_report(
    name: str, browser: Client, reports: Reports
) -> None:
    endpoint = ClientEndpoint.objects.get(name="key")
    with ENCRYPTION_FAULTS[name]():
        for way in (saving, signing_again, lambda: UserProfile.objects.earliest("pk").delete()):
            try:
                way()
            except (ImproperlyConfigured, RuntimeError) as error:
                reports.of(error)
        browser.post(page("clientendpoint_change", endpoint.pk), typed_key(name="key"))
    assert reports.count >= 3
    assert reports.places.leaks() == set()
