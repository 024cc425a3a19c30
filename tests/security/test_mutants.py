"""Each way to take a protection away is noticed: by the planted secrets, or by the promise that it breaks."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django import forms
from django.contrib.admin import ModelAdmin
from django.test import override_settings

from live_push.admin.endpoints.endpoint_admin import ClientEndpointAdmin
from live_push.conf import Settings
from live_push.contract import headers
from live_push.delivery.send import outcome_of, send
from live_push.engines import sender
from live_push.exceptions import SecretUnreadable
from live_push.housekeeping import key_rotation
from live_push.models import ClientEndpoint, Push
from live_push.rules import redaction
from live_push.rules.masking import Masked, Secret
from live_push.rules.result import Result
from live_push.secrets.fields import EncryptedTextField, StoredBytesField
from live_push.secrets.keyring import Keyring
from live_push.testing.https_server import EndpointServer
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, deliver

from . import journey
from .journey import Journey
from .marker import Places

pytestmark = pytest.mark.django_db(transaction=True)

Mutant = Callable[[pytest.MonkeyPatch], None]
Way = Callable[[Journey], None]


def nothing_is_encrypted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keyring, "encrypt", lambda self, data: data)
    patch.setattr(Keyring, "decrypt", lambda self, token: token)


def answers_are_kept_as_they_come(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("live_push.delivery.send.clean_bytes", lambda body, limit, secrets: body[:limit])


def what_was_sent_is_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(headers, "credentials_in", lambda sent: ())


def secrets_in_base64_are_not_recognised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(redaction, "_base64_forms", lambda raw: ())
    redaction._pattern.cache_clear()


def a_masked_text_shows_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Masked, "__repr__", str.__repr__)


def a_column_s_value_shows_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Secret, "__repr__", lambda self: repr(str(self.text)))


def credentials_are_ordinary_text_on_their_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(headers, "Masked", str)


def errors_of_transports_are_quoted(patch: pytest.MonkeyPatch) -> None:
    def attempt(self: Any, prepared: Any, taken: Any) -> None:
        try:
            outcome = send(prepared, self.transport)
        except Exception:  # noqa: BLE001
            sender.logger.exception("The transport raised.")
            outcome = outcome_of(prepared, Result(error_code="unexpected"))
        self._report(outcome)

    patch.setattr(sender.Sender, "_attempt", attempt)


def fixtures_carry_the_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EncryptedTextField, "value_to_string", lambda self, row: str(self.reveal(row)))


def forms_repeat_what_was_typed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forms.PasswordInput, "get_context", forms.TextInput.get_context)


def error_reports_repeat_what_was_typed(patch: pytest.MonkeyPatch) -> None:
    def changeform_view(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        del request.sensitive_post_parameters
        return ModelAdmin.changeform_view(self, request, *args, **kwargs)

    patch.setattr(ClientEndpointAdmin, "changeform_view", changeform_view)


def settings_show_their_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settings, "__repr__", lambda self: repr(vars(self)))


@pytest.mark.parametrize(
    ("mutant", "way", "place"),
    [
        (nothing_is_encrypted, journey.accepted, "database"),
        (nothing_is_encrypted, journey.into_fixtures, "fixtures"),
        (nothing_is_encrypted, journey.accepted, "logs"),
        (answers_are_kept_as_they_come, journey.refused_with_an_echo, "database"),
        (what_was_sent_is_not_looked_for, journey.refused_with_an_echo, "database"),
        (secrets_in_base64_are_not_recognised, journey.refused_with_an_echo, "database"),
        (a_masked_text_shows_itself, journey.accepted, "sentry"),
        (a_column_s_value_shows_itself, journey.accepted, "printed"),
        (credentials_are_ordinary_text_on_their_way, journey.accepted, "sentry"),
        (errors_of_transports_are_quoted, journey.with_a_transport_that_quotes, "logs"),
        (fixtures_carry_the_text, journey.into_fixtures, "fixtures"),
        (forms_repeat_what_was_typed, journey.typed_into_the_admin, "pages"),
        (error_reports_repeat_what_was_typed, journey.typed_into_the_admin, "error mails"),
        (settings_show_their_keys, journey.with_wrong_settings, "printed"),
    ],
)
def test_the_journey_of_planted_secrets_notices(
    mutant: Mutant, way: Way, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    places = Places()
    try:
        with EndpointServer() as server:
            Journey(places, server).travel(way)
    finally:
        redaction._pattern.cache_clear()
    assert place in {found for found, _ in places.leaks()}


# What no search can notice: the promises themselves


def the_place_is_not_encrypted_with_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EncryptedTextField, "_place", lambda self, instance: [])


def one_key_serves_all_purposes(patch: pytest.MonkeyPatch) -> None:
    fernets = Keyring._fernets
    patch.setattr(Keyring, "_fernets", lambda self: fernets(Keyring("everything", "")))


def a_wrong_key_gives_the_ciphertext(patch: pytest.MonkeyPatch) -> None:
    decrypt = Keyring.decrypt

    def lenient(self: Keyring, token: bytes) -> bytes:
        try:
            return decrypt(self, token)
        except SecretUnreadable:
            return b'{"place": [], "text": "' + token + b'"}'

    patch.setattr(Keyring, "decrypt", lenient)
    the_place_is_not_encrypted_with_it(patch)


def whoever_claims_does_not_ask_for_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientEndpoint, "credentials_problem", lambda self: "")


def rotation_forgets_to_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EncryptedTextField, "rotated", lambda self, stored: stored)


LOST = {"SECRET_KEYS": ["a key that has encrypted nothing yet"]}


def a_credential_stays_with_its_origin() -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    endpoint.url = "https://elsewhere.example.com/"
    with pytest.raises(SecretUnreadable):
        endpoint.reveal("api_key")


def a_credential_is_no_payload() -> None:
    token = ClientEndpointFactory(api_key_auth=True).api_key.token.removeprefix("live_push:1:")
    assert StoredBytesField().from_db_value(StoredBytesField.MARK + token.encode()) == b""


def a_lost_key_raises() -> None:
    endpoint = ClientEndpoint.objects.get(pk=ClientEndpointFactory(api_key_auth=True).pk)
    with override_settings(LIVE_PUSH=LOST), pytest.raises(SecretUnreadable):
        endpoint.reveal("api_key")


def a_lost_key_costs_no_attempt() -> None:
    ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=LOST):
        deliver(OK)
    assert Push.objects.get().deliveries.get().attempts_made == 0


def an_old_key_may_go_after_a_rotation() -> None:
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the key of last year"]}):
        endpoint = ClientEndpointFactory(api_key_auth=True)
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the key of this year", "the key of last year"]}):
        for column in key_rotation.encrypted_columns():
            list(key_rotation.rotate_column(column, using="default"))
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["the key of this year"]}):
        assert ClientEndpoint.objects.get(pk=endpoint.pk).reveal("api_key")


PROMISES = [
    (the_place_is_not_encrypted_with_it, a_credential_stays_with_its_origin),
    (one_key_serves_all_purposes, a_credential_is_no_payload),
    (a_wrong_key_gives_the_ciphertext, a_lost_key_raises),
    (whoever_claims_does_not_ask_for_credentials, a_lost_key_costs_no_attempt),
    (rotation_forgets_to_write, an_old_key_may_go_after_a_rotation),
]


@pytest.mark.parametrize("promise", [promise for _, promise in PROMISES])
def test_a_promise_holds(promise: Callable[[], None]) -> None:
    promise()


@pytest.mark.parametrize(("mutant", "promise"), PROMISES)
def test_a_promise_breaks_where_its_protection_is_gone(
    mutant: Mutant, promise: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, SecretUnreadable, pytest.fail.Exception)) as broken:
        promise()
    assert promise.__name__ in "".join(traceback.format_tb(broken.tb))
