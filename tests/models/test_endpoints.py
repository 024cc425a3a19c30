"""What an endpoint may be: in forms with a sentence, and in the database for everybody else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.forms import modelform_factory
from django.test import override_settings

from live_push.models import ClientEndpoint, Delivery, EndpointHealth
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-theirs"
ALLOWED = [
    ("no authentication", {}),
    ("Basic", {"auth_method": "basic", "username": "u", "password": "p"}),
    ("Basic with an odd but legal password", {"auth_method": "basic", "username": "u", "password": "pä:ß €"}),
    ("API key", {"auth_method": "api_key", "api_key": "k"}),
    ("capture without authentication", {"capture_third_party_id": True}),
    ("port 8443", {"url": "https://example.com:8443/x"}),
    ("an upper-case host", {"url": "https://EXAMPLE.com/x"}),
    ("a name in another script", {"name": "לקוח 1, 顧客"}),
    ("an international name", {"url": "https://bücher.example/x"}),
]
# remark, values, field of the message, a word of it, whether the database refuses it too
REFUSED = [
    ("plain http", {"url": "http://example.com/"}, "url", "https", False),
    ("no URL", {"url": "ftp://example.com/"}, "url", "https", False),
    ("credentials in the URL", {"url": "https://u:p@example.com/"}, "url", "", False),
    ("a name that forges a line", {"name": "crm\nbilling"}, "name", "U+000A", False),
    ("a name that clears the screen", {"name": "crm\x1b[2J"}, "name", "U+001B", False),
    ("a name that is turned around", {"name": "\u202emrc"}, "name", "U+202E", False),
    ("a name that looks like another", {"name": "crm\u200b"}, "name", "U+200B", False),
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
    ("an unknown ignored key", {"ignored_keys": ["email"]}, "ignored_keys", "The nearest is", False),
    ("ignored keys as a text", {"ignored_keys": "city"}, "ignored_keys", "a JSON list", False),
    ("no ignored keys", {"ignored_keys": None}, "ignored_keys", "", False),
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


def test_the_database_refuses_plain_http_by_whatever_way() -> None:
    endpoint().save()
    with pytest.raises(IntegrityError), transaction.atomic():
        ClientEndpoint.objects.update(url="http://example.com/")


HOSTILE = [
    "http://example.com/",
    "https://user:secret@example.com/",
    "https://0x7f000001/",
    "https://127.1/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/#top",
    "https://client.example/\n",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_script_that_does_not_validate_can_not_save_a_url_that_hides_something(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ClientEndpoint.objects.create(name="crm", url=url)
    assert "url" in refused.value.message_dict
    stored = endpoint()
    stored.save()
    stored.url = url
    for columns in (None, ["url"]):
        with pytest.raises(ValidationError):
            stored.save(update_fields=columns)
    assert ClientEndpoint.objects.get().url == "https://example.com/push"


def test_a_script_that_does_not_validate_saves_a_url_in_its_normal_form() -> None:
    ClientEndpoint.objects.create(name="crm", url="https://BÜCHER.example./x")
    assert ClientEndpoint.objects.get().url == "https://xn--bcher-kva.example/x"


TYPED = 'https://EXAMPLE.com/{a}?b="c"&d=%7b%'
STORED = "https://example.com/%7Ba%7D?b=%22c%22&d=%7B%25"


def by_a_form(new: ClientEndpoint) -> None:
    form = modelform_factory(ClientEndpoint, fields=["url"])({"url": TYPED}, instance=new)
    assert form.is_valid(), form.errors
    form.save()


def by_validation(new: ClientEndpoint) -> None:
    new.url = TYPED
    new.full_clean()
    new.save()


def by_save(new: ClientEndpoint) -> None:
    new.url = TYPED
    new.save()
    assert new.url == STORED


def by_some_columns(new: ClientEndpoint) -> None:
    new.save()
    new.url = TYPED
    new.save(update_fields=["url"])


def by_bulk_create(new: ClientEndpoint) -> None:
    new.url = TYPED
    ClientEndpoint.objects.bulk_create([new])


def by_update(new: ClientEndpoint) -> None:
    new.save()
    ClientEndpoint.objects.update(url=TYPED)


def by_bulk_update(new: ClientEndpoint) -> None:
    new.save()
    new.url = TYPED
    ClientEndpoint.objects.bulk_update([new], ["url"])


@pytest.mark.parametrize(
    "write", [by_a_form, by_validation, by_save, by_some_columns, by_bulk_create, by_update, by_bulk_update]
)
def test_whatever_writes_a_url_stores_it_percent_encoded(write: Callable[[ClientEndpoint], None]) -> None:
    write(endpoint())
    assert ClientEndpoint.objects.get().url == STORED


def test_an_address_outside_the_allowed_networks_is_refused_when_it_is_saved() -> None:
    with override_settings(
        LIVE_PUSH={"ALLOWED_PRIVATE_NETWORKS": ["10.1.0.0/16"], "EXTRA_BLOCKED_NETWORKS": ["10.1.7.0/24", "8.8.8.8/32"]}
    ):
        endpoint(url="https://10.1.0.1/").full_clean()
        for address in ("10.2.0.1", "127.0.0.1", "[::1]", "169.254.169.254", "10.1.7.1", "8.8.8.8"):
            with pytest.raises(ValidationError, match="_NETWORKS"):
                endpoint(url=f"https://{address}/").full_clean()
            with pytest.raises(ValidationError, match="_NETWORKS"):
                ClientEndpoint.objects.bulk_create([endpoint(url=f"https://{address}/")])


def test_what_was_stored_before_a_rule_was_can_still_be_switched_off() -> None:
    endpoint().save()
    ClientEndpoint.objects.update(url="https://0x7f000001/")
    stored = ClientEndpoint.objects.get()
    stored.is_active = False
    stored.save()
    assert not ClientEndpoint.objects.get().is_active


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


def test_no_name_is_looked_up_when_an_endpoint_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would tell the client's name server who asks, hold the request up, and prove nothing about later.
    looked_up: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: looked_up.append(host))
    new = endpoint(url="https://client.example/x")
    new.full_clean()
    new.save()
    assert looked_up == []


def test_a_local_name_is_allowed_where_private_networks_are() -> None:
    with override_settings(LIVE_PUSH={"ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8"], "ALLOWED_PORTS": None}):
        endpoint(url="https://localhost:8999/").full_clean()


def test_the_text_form_is_the_name_never_the_address() -> None:
    assert str(endpoint()) == "crm"


class TestManyAtOnce:
    def test_they_are_sent_to_like_any_other(self) -> None:
        with_key = endpoint(name="two", auth_method="api_key", api_key=KEY)
        ClientEndpoint.objects.bulk_create([endpoint(name="one"), with_key])
        UserProfileFactory()
        assert sorted(request.headers.get("x-api-key", "") for request in deliver(OK)) == ["", KEY]
        assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}

    def test_their_health_knows_what_it_has_to(self) -> None:
        ClientEndpoint.objects.bulk_create([endpoint(), endpoint(name="off", is_active=False)])
        known = EndpointHealth.objects.order_by("endpoint__name").values_list("endpoint__name", "needs_credentials")
        assert list(known) == [("crm", False), ("off", False)]
        assert EndpointHealth.objects.get(inactive_since__isnull=False).endpoint.name == "off"

    def test_their_urls_are_stored_normalised(self) -> None:
        ClientEndpoint.objects.bulk_create([endpoint(url="https://EXAMPLE.com./x")])
        assert ClientEndpoint.objects.get().url == "https://example.com/x"

    @pytest.mark.parametrize(
        ("values", "field"), [pytest.param(values, field, id=remark) for remark, values, field, _word, _db in REFUSED]
    )
    def test_one_that_is_refused_keeps_all_of_them_out(self, values: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError) as refused:
            ClientEndpoint.objects.bulk_create([endpoint(name="first"), endpoint(**values)])
        assert field in refused.value.message_dict
        assert refused.value.__notes__ == [f"This is about the endpoint {values.get('name', 'crm')!r}."]
        assert not ClientEndpoint.objects.exists()

    def test_two_that_synchronize_ids_are_refused_by_the_database(self) -> None:
        both = [endpoint(name=name, capture_third_party_id=True) for name in ("one", "two")]
        with pytest.raises(IntegrityError), transaction.atomic():
            ClientEndpoint.objects.bulk_create(both)
        assert not EndpointHealth.objects.exists()

    @pytest.mark.parametrize(
        "options",
        [
            {"ignore_conflicts": True},
            {"update_conflicts": True, "update_fields": ["url"], "unique_fields": ["name"]},
        ],
    )
    def test_none_takes_the_place_of_another(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="save"):
            ClientEndpoint.objects.bulk_create([endpoint()], **options)


def test_one_from_a_fixture_without_its_health_is_sent_to(tmp_path: Path) -> None:
    ClientEndpointFactory()
    fixture = tmp_path / "endpoints.json"
    call_command("dumpdata", "live_push.clientendpoint", output=str(fixture), verbosity=0)
    ClientEndpoint.objects.all().delete()
    for _ in range(2):
        call_command("loaddata", str(fixture), verbosity=0)
    UserProfileFactory()
    assert len(deliver(OK)) == 1


def test_a_fixture_brings_the_health_along(tmp_path: Path) -> None:
    ClientEndpointFactory()
    EndpointHealth.objects.update(failures_in_row=7)
    fixture = tmp_path / "everything.json"
    call_command("dumpdata", "live_push", output=str(fixture), verbosity=0)
    ClientEndpoint.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)
    assert EndpointHealth.objects.get().failures_in_row == 7


class TestCredentialsDate:
    def at(self, year: int, endpoint: ClientEndpoint, **changes: Any) -> datetime | None:
        """Since when the credential has been what it is, after a save in that year."""
        for name, value in changes.items():
            setattr(endpoint, name, value)
        with stopped(START.replace(year=year)):
            endpoint.save()
        return ClientEndpoint.objects.get().credentials_changed_at

    def test_it_moves_where_the_secret_becomes_another_one_and_not_otherwise(self) -> None:
        endpoint = ClientEndpoint(name="crm", url="https://crm.example.com/", auth_method="api_key", api_key=KEY)
        first, third = START.replace(year=2021), START.replace(year=2025)
        assert self.at(2021, endpoint) == first
        assert self.at(2022, endpoint, name="other") == first
        assert self.at(2023, ClientEndpoint.objects.get(), url="https://new.example.com/", api_key=KEY) == first
        assert self.at(2024, ClientEndpoint.objects.get()) == first
        assert self.at(2025, ClientEndpoint.objects.get(), api_key="another") == third
        assert self.at(2026, ClientEndpoint.objects.defer("api_key").get(), name="again") == third
        assert self.at(2027, ClientEndpoint.objects.get(), auth_method="none", api_key=None) is None

    def test_it_is_written_with_the_columns_that_a_save_names(self) -> None:
        endpoint = ClientEndpointFactory(basic=True)
        endpoint.name, endpoint.password = "other", "new"
        with stopped(START):
            endpoint.save(update_fields=["name"])
            assert ClientEndpoint.objects.get().credentials_changed_at != START
            endpoint.save(update_fields=["password"])
        assert ClientEndpoint.objects.get().credentials_changed_at == START

    def test_a_secret_that_could_not_be_read_any_more_is_a_new_one_when_it_is_typed_again(self) -> None:
        with override_settings(LIVE_PUSH={"SECRET_KEYS": ["a key that is lost one day"]}):
            ClientEndpointFactory(basic=True)
        endpoint = ClientEndpoint.objects.get()
        assert self.at(2027, endpoint) != START.replace(year=2027)
        assert self.at(2028, endpoint, password="password123") == START.replace(year=2028)

    def test_a_new_encryption_key_leaves_it(self) -> None:
        with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the old key of the site"]}), stopped(START):
            ClientEndpointFactory(basic=True)
        with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the new key of the site", "the old key of the site"]}):
            call_command("live_push_rotate_keys", verbosity=0)
            assert self.at(2027, ClientEndpoint.objects.get()) == START

    def test_many_at_once_get_it_too(self) -> None:
        with stopped(START):
            ClientEndpoint.objects.bulk_create([ClientEndpointFactory.build(basic=True), ClientEndpointFactory.build()])
        assert set(ClientEndpoint.objects.values_list("credentials_changed_at", flat=True)) == {START, None}
