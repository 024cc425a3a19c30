"""Every way that a secret can take through the app, the failing ones first."""

from __future__ import annotations

import io
import json
import pickle
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import reverse

from live_push import conf
from live_push.contract.payload import ProfilePayload
from live_push.delivery.request import Request
from live_push.delivery.send import prepare
from live_push.engines.run import run_once
from live_push.exceptions import SecretMisuse, SecretUnreadable
from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint, Delivery, EndpointHealth, Push, UserProfile
from live_push.rules.result import Result
from live_push.testing.https_server import EndpointServer, Exchange
from tests.factories import UserProfileFactory

from . import marker
from .marker import Places
from .witnesses import watching

ODD_KEY = f"{marker.API_KEY} with a blank"


class RaisingSerializer(ProfilePayload):
    """A host's own, with a fault."""

    def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
        raise RuntimeError("boom")


class RaisingTransport:
    """A host's own, whose HTTP client quotes headers in its errors."""

    def send(self, request: Request) -> Result:
        raise ValueError(f"Invalid header value: {request.headers.get('x-api-key') or request.headers}")

    def close(self) -> None:
        """Nothing to let go of."""


def echo(exchange: Exchange) -> None:
    """A client that fails and tells all that it knows, in the ways that frameworks do."""
    headers = dict(exchange.received.headers)
    known = marker.PASSWORD if "authorization" in headers else headers.get("x-api-key", "")
    told = {
        "headers": headers,
        "base64": b64encode(repr(headers).encode()).decode(),
        "hexadecimal": known.encode().hex(),
        "words": f"Your {known} is wrong.",
    }
    exchange.respond(500, json.dumps(told).encode())


class Journey:
    """One passage through everything; what can be seen on the way is in ``places``."""

    def __init__(self, places: Places, server: EndpointServer, **settings: Any) -> None:
        self.places, self.server = places, server
        self.settings = {**server.settings, "SECRET_KEYS": [marker.SITE_KEY], **settings}

    def travel(self, *ways: Callable[[Journey], None]) -> None:
        """These ways, or all of them, one after the other."""
        with watching(self.places) as self.witness, self.set(), self.verbose_database():
            self.endpoints_are_made()
            for way in ways or WAYS:
                self.server.behave(echo)
                way(self)
            self.everything_that_is_kept()

    @contextmanager
    def failing(self, kind: type[Exception]) -> Iterator[None]:
        """What is done in here fails so, and the witness sees it."""
        try:
            yield
        except kind as error:
            self.witness.error(error)
        else:
            raise AssertionError(f"There was no {kind.__name__}.")

    @contextmanager
    def set(self, **settings: Any) -> Iterator[None]:
        with override_settings(LIVE_PUSH={**self.settings, **settings}):
            yield

    @contextmanager
    def verbose_database(self) -> Iterator[None]:
        connection.force_debug_cursor = True
        try:
            yield
        finally:
            connection.force_debug_cursor = False

    def endpoints_are_made(self) -> None:
        """One for each kind of secret."""
        common = {"url": self.server.url, "retry_policy": "standard_webhooks"}
        basic = ClientEndpoint(
            name="basic", auth_method="basic", username=marker.USERNAME, password=marker.PASSWORD, **common
        )
        with_key = ClientEndpoint(name="key", auth_method="api_key", api_key=marker.API_KEY, **common)
        for endpoint in (basic, with_key):
            endpoint.full_clean()
            self.shown(endpoint, vars(endpoint))
            endpoint.save()
            self.shown(endpoint, vars(endpoint))
            for _ in range(2):
                signing_secrets.rotate(endpoint, randomness=lambda length: marker.SIGNING_KEY)

    def shown(self, *things: object) -> None:
        """What a developer sees who prints or formats it."""
        for thing in things:
            self.places.add("printed", f"{thing} {thing!r}")

    def push(self) -> None:
        """A member changes, and what is due is sent; nothing waits for its next time."""
        EndpointHealth.objects.update(breaker_state="closed", failures_in_row=0, rests_until=None)
        UserProfileFactory()
        run_once("default", threads=2)

    def page(self, method: str, address: str, data: dict[str, Any] | None = None, *, status: int = 200) -> None:
        """A page of the admin, as an administrator sees it."""
        response = getattr(self.admin, method)(address, data or {}, follow=True)
        assert response.status_code == status, address
        self.places.add("pages", response.content)

    @property
    def admin(self) -> Client:
        client = Client(raise_request_exception=False)
        client.force_login(User.objects.get_or_create(username="boss", is_staff=True, is_superuser=True)[0])
        return client

    def everything_that_is_kept(self) -> None:
        """The database, row by row and byte by byte."""
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
                for row in cursor.fetchall():
                    for value in row:
                        kept = bytes(value) if isinstance(value, bytes | memoryview) else str(value)
                        self.places.add("database", kept)
        if connection.vendor == "sqlite":
            self.database_files()

    def database_files(self) -> None:
        file = Path(str(connection.settings_dict["NAME"]))
        for part in (file, file.with_name(file.name + "-wal")):
            self.places.add("database file", part.read_bytes())


# The ways


def accepted(journey: Journey) -> None:
    journey.server.answer(200)
    journey.push()


def refused_with_an_echo(journey: Journey) -> None:
    journey.push()


def gone_with_a_notice(journey: Journey) -> None:
    journey.server.answer(410)
    ClientEndpoint.objects.update(contact_email="on-call@example.com")
    journey.push()
    ClientEndpoint.objects.update(is_active=True, contact_email="")
    for message in mail.outbox:
        journey.places.add("mail", f"{message.subject} {message.body}")


def hung_up(journey: Journey) -> None:
    journey.server.behave(Exchange.reset)
    journey.push()


def without_a_trusted_certificate(journey: Journey) -> None:
    with journey.set(CA_BUNDLE=None):
        journey.push()


def without_a_host(journey: Journey) -> None:
    elsewhere = ClientEndpoint(
        name="lost", url="https://no-such-host.invalid/", auth_method="api_key", api_key=marker.API_KEY
    )
    elsewhere.save()
    with journey.set(TOTAL_TIMEOUT_SECONDS=2):
        journey.push()
    elsewhere.is_active = False
    elsewhere.save()


def to_an_inner_address(journey: Journey) -> None:
    with journey.set(ALLOWED_PRIVATE_NETWORKS=[]):
        journey.push()


def with_a_key_that_no_header_takes(journey: Journey) -> None:
    odd = ClientEndpoint(name="odd", url=journey.server.url, auth_method="api_key", api_key=ODD_KEY)
    odd.save()
    journey.push()
    with journey.failing(ValidationError):
        odd.full_clean()
    odd.is_active = False
    odd.save()


def with_a_transport_that_quotes(journey: Journey) -> None:
    with journey.set(TRANSPORT=f"{RaisingTransport.__module__}.RaisingTransport"):
        journey.push()


def with_a_serializer_that_raises(journey: Journey) -> None:
    with journey.set(PAYLOAD_SERIALIZER=f"{RaisingSerializer.__module__}.RaisingSerializer"):
        journey.push()


def with_a_lost_key(journey: Journey) -> None:
    with journey.set(SECRET_KEYS=["another key, which has encrypted nothing"]):
        journey.push()
        for endpoint in ClientEndpoint.objects.all():
            journey.shown(endpoint.credentials_problem())
        with journey.failing(SecretUnreadable):
            ClientEndpoint.objects.get(name="basic").reveal("password")


def after_a_move(journey: Journey) -> None:
    endpoint = ClientEndpoint.objects.get(name="key")
    endpoint.url = "https://elsewhere.example.com/"
    journey.shown(endpoint.credentials_problem())
    with journey.failing(ValidationError):
        endpoint.full_clean()


def with_wrong_settings(journey: Journey) -> None:
    journey.shown(conf.current())
    with override_settings(LIVE_PUSH={**journey.settings, "NO_SUCH_KEY": 1}), journey.failing(ImproperlyConfigured):
        journey.push()


def past_the_encryption(journey: Journey) -> None:
    with journey.failing(SecretMisuse), transaction.atomic():
        ClientEndpoint.objects.filter(name="key").update(api_key=ClientEndpoint.objects.get(name="key").api_key)


def into_other_processes(journey: Journey) -> None:
    for endpoint in ClientEndpoint.objects.all():
        journey.places.add("pickles", pickle.dumps(endpoint))
        cache.set("endpoint", endpoint)
    for request in _requests(journey):
        journey.shown(request, vars(request))
        with journey.failing(SecretMisuse):
            pickle.dumps(request)


def _requests(journey: Journey) -> list[Request]:
    push = Push.objects.exclude(payload=None).latest("pk")
    delivery = Delivery(push=push, attempts_made=1, dialled_at=push.created_at)
    prepared = [prepare(delivery, endpoint) for endpoint in ClientEndpoint.objects.filter(name__in=["basic", "key"])]
    journey.shown(*prepared)
    return [made.request for made in prepared if made.request is not None]


def into_a_broker(journey: Journey) -> None:
    if find_spec("celery") is None:
        return
    from kombu import Connection

    from live_push.engines.celery import look

    with Connection("memory://") as broker:
        look.apply_async(("default",), connection=broker)
        message = broker.SimpleQueue("celery").get(block=False)
        message.ack()
    journey.places.add("broker", repr((message.headers, message.properties, message.payload)))


def into_fixtures(journey: Journey) -> None:
    for form in ("json", "xml"):
        out = io.StringIO()
        call_command("dumpdata", "live_push", "admin", "auth", format=form, stdout=out)
        journey.places.add("fixtures", out.getvalue())


def through_the_commands(journey: Journey) -> None:
    for command in COMMANDS:
        out = io.StringIO()
        # Some find what they complain about.
        with suppress(SystemExit):
            call_command(*command, stdout=out, stderr=out, verbosity=3)
        journey.places.add("commands", out.getvalue())


COMMANDS = [
    ("check", "--database", "default"),
    ("live_push_status",),
    ("live_push_status", "--json"),
    *(("live_push_contract", "--format", form) for form in ("json-schema", "openapi", "sample")),
    ("live_push_endpoints", "--export"),
    ("live_push_rotate_keys", "--check", "--json"),
    ("live_push_rotate_keys",),
    ("live_push_erasure", "--check"),
    ("live_push_prune", "--dry-run"),
    ("live_push_tiers", "--dry-run"),
    ("redeliver", "--endpoint", "basic"),
    ("resend_profile", "--all", "--yes", "--endpoint", "key"),
]


def through_the_admin(journey: Journey) -> None:
    for endpoint in ClientEndpoint.objects.filter(name__in=["basic", "key"]):
        for name in ("change", "history", "test", "signing", "switch", "catch_up"):
            journey.page("get", reverse(f"admin:live_push_clientendpoint_{name}", args=[endpoint.pk]))
        journey.page("post", reverse("admin:live_push_clientendpoint_test", args=[endpoint.pk]), {"member": ""})
    for name in ("clientendpoint_changelist", "delivery_changelist", "overview", "userprofile_changelist"):
        journey.page("get", reverse(f"admin:live_push_{name}"))
    for delivery in Delivery.objects.exclude(attempts_made=0)[:20]:
        journey.page("get", reverse("admin:live_push_delivery_change", args=[delivery.pk]))
    profile = UserProfile.objects.latest("pk")
    for endpoint in ClientEndpoint.objects.all():
        preview = reverse("admin:live_push_userprofile_preview", args=[profile.pk])
        journey.page("get", f"{preview}?endpoint={endpoint.pk}")


def typed_into_the_admin(journey: Journey) -> None:
    add = reverse("admin:live_push_clientendpoint_add")
    journey.page("post", add, typed_key(url="http://not-https.example.com/"))
    journey.page("post", add, typed_key(new_password=marker.PASSWORD))
    journey.page("post", add, typed_key(new_api_key=ODD_KEY))
    journey.page("post", add, typed_key())
    assert ClientEndpoint.objects.get(name="typed").reveal("api_key") == marker.API_KEY
    with mock.patch.object(ClientEndpoint, "save", side_effect=RuntimeError("boom")):
        journey.page("post", add, typed_key(name="typed again"), status=500)


def typed_key(**changed: str) -> dict[str, str]:
    """The form for a new endpoint, filled in."""
    return {
        "name": "typed",
        "url": "https://typed.example.com:8443/",
        "audience": "all",
        "auth_method": "api_key",
        "new_api_key": marker.API_KEY,
        "ordering": "in_order",
        "retry_policy": "crowdtwist",
        "max_in_flight": "8",
        "extra_headers": "{}",
        **changed,
    }


WAYS: list[Callable[[Journey], None]] = [
    refused_with_an_echo,
    accepted,
    hung_up,
    without_a_trusted_certificate,
    without_a_host,
    to_an_inner_address,
    with_a_key_that_no_header_takes,
    with_a_transport_that_quotes,
    with_a_serializer_that_raises,
    with_a_lost_key,
    after_a_move,
    with_wrong_settings,
    past_the_encryption,
    into_other_processes,
    gone_with_a_notice,
    typed_into_the_admin,
    through_the_admin,
    through_the_commands,
    into_fixtures,
    into_a_broker,
]
