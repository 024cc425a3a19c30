"""What an endpoint may be: in forms with a sentence, and in the database for everybody else."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import override_settings

from live_push.models import ClientEndpoint
from tests.factories import ClientEndpointFactory

pytestmark = pytest.mark.django_db(transaction=True)

ALLOWED = [
    ("no authentication", {}),
    ("Basic", {"auth_method": "basic", "username": "u", "password": "p"}),
    ("Basic with an odd but legal password", {"auth_method": "basic", "username": "u", "password": "pä:ß €"}),
    ("API key", {"auth_method": "api_key", "api_key": "k"}),
    ("capture without authentication", {"capture_third_party_id": True}),
    ("port 8443", {"url": "https://example.com:8443/x"}),
    ("an upper-case host", {"url": "https://EXAMPLE.com/x"}),
    ("an international name", {"url": "https://bücher.example/x"}),
]
# remark, values, field of the message, a word of it, whether the database refuses it too
REFUSED = [
    ("plain http", {"url": "http://example.com/"}, "url", "https", True),
    ("no URL", {"url": "ftp://example.com/"}, "url", "https", True),
    ("credentials in the URL", {"url": "https://u:p@example.com/"}, "url", "", False),
    ("an unusual port", {"url": "https://example.com:22/"}, "url", "443", False),
    ("a private address", {"url": "https://10.0.0.1/"}, "url", "public", False),
    ("Basic without a user name", {"auth_method": "basic", "password": "p"}, "auth_method", "", False),
    ("API key without a key", {"auth_method": "api_key"}, "auth_method", "key", False),
    ("a password without Basic", {"password": "p"}, "auth_method", "Basic", True),
    ("a key without API key", {"api_key": "k"}, "auth_method", "API key", True),
    ("both", {"auth_method": "basic", "username": "u", "password": "p", "api_key": "k"}, "auth_method", "", True),
    (
        "capture with Basic",
        {"auth_method": "basic", "username": "u", "password": "p", "capture_third_party_id": True},
        "capture_third_party_id",
        "without authentication",
        True,
    ),
    ("no request at a time", {"max_in_flight": 0}, "max_in_flight", "", True),
    ("no request a second", {"rate_limit_per_second": 0}, "rate_limit_per_second", "", True),
    ("an unknown retry policy", {"retry_policy": "never"}, "retry_policy", "crowdtwist", False),
    ("our own header", {"extra_headers": {"Authorization": "x"}}, "extra_headers", "", False),
    ("headers that are a list", {"extra_headers": ["x"]}, "extra_headers", "object", False),
    ("a withheld key that must be sent", {"withheld_fields": ["id"]}, "withheld_fields", "", False),
    ("an unknown withheld key", {"withheld_fields": ["email"]}, "withheld_fields", "email", False),
    ("withheld fields that are a text", {"withheld_fields": "emailAddress"}, "withheld_fields", "list", False),
]


def endpoint(**values: Any) -> ClientEndpoint:
    return ClientEndpointFactory.build(**{"name": "crm", "url": "https://example.com/push", **values})


@pytest.mark.parametrize("values", [pytest.param(values, id=remark) for remark, values in ALLOWED])
def test_an_endpoint_is_allowed(values: dict[str, Any]) -> None:
    new = endpoint(**values)
    new.full_clean()
    new.save()
    stored = ClientEndpoint.objects.get()
    stored.full_clean()
    assert stored.auth().method == new.auth_method


@pytest.mark.parametrize(
    ("values", "field", "word"), [pytest.param(values, field, word, id=r) for r, values, field, word, _db in REFUSED]
)
def test_an_endpoint_is_refused_with_a_sentence(values: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(ValidationError) as refused:
        endpoint(**values).full_clean()
    sentence = " ".join(refused.value.message_dict[field])
    assert word in sentence
    assert len(sentence) > 20


@pytest.mark.parametrize("values", [pytest.param(values, id=r) for r, values, _f, _w, in_db in REFUSED if in_db])
def test_the_database_refuses_it_too(values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        endpoint(**values).save()


class TestCapture:
    def test_on_a_second_active_endpoint_is_refused_with_its_name(self) -> None:
        ClientEndpointFactory(name="first", capturing=True)
        with pytest.raises(ValidationError, match="first"):
            endpoint(capture_third_party_id=True).full_clean()

    def test_on_a_second_active_endpoint_is_refused_by_the_database(self) -> None:
        ClientEndpointFactory(capturing=True)
        with pytest.raises(IntegrityError), transaction.atomic():
            endpoint(capture_third_party_id=True).save()

    def test_on_a_second_endpoint_that_is_switched_on_by_a_queryset_is_refused(self) -> None:
        ClientEndpointFactory(capturing=True)
        ClientEndpointFactory(capturing=True, is_active=False)
        with pytest.raises(IntegrityError), transaction.atomic():
            ClientEndpoint.objects.update(is_active=True)

    def test_on_inactive_endpoints_is_nobodys_business(self) -> None:
        ClientEndpointFactory.create_batch(2, capturing=True, is_active=False)


def test_names_are_unique_byte_by_byte() -> None:
    ClientEndpointFactory(name="CRM")
    ClientEndpointFactory(name="crm")
    with pytest.raises(IntegrityError), transaction.atomic():
        ClientEndpointFactory(name="crm")


def test_the_url_is_stored_normalised() -> None:
    new = endpoint(url="https://EXAMPLE.com./x")
    new.full_clean()
    assert new.url == "https://example.com/x"


def test_a_local_name_is_allowed_where_private_networks_are() -> None:
    with override_settings(LIVE_PUSH={"ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8"], "ALLOWED_PORTS": None}):
        endpoint(url="https://localhost:8999/").full_clean()


def test_the_text_form_is_the_name_never_the_address() -> None:
    assert str(endpoint()) == "crm"
