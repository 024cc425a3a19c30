"""An endpoint whose secrets can't be read: nothing is sent, nothing is lost, and operators are told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings

from live_push.delivery.request import Request
from live_push.delivery.send import prepare
from live_push.engines.pipeline import Pipeline
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, UserProfile
from live_push.models.clock import stopped
from live_push.rules.result import ErrorCode, Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, ScriptedTransport, deliver

pytestmark = pytest.mark.django_db(transaction=True)

KEYS_LOST = {"SECRET_KEYS": ["a key that has encrypted nothing yet"]}


def needs_credentials(endpoint: ClientEndpoint) -> bool:
    return EndpointHealth.objects.get(endpoint=endpoint).needs_credentials


def moved(endpoint: ClientEndpoint) -> None:
    endpoint.url = "https://elsewhere.example.com/push"
    endpoint.save()


def key_removed(endpoint: ClientEndpoint) -> None:
    endpoint.api_key = None
    endpoint.save()


@pytest.mark.parametrize("mishap", [moved, key_removed])
def test_a_mishap_shows_as_soon_as_it_is_saved(mishap: Callable[[ClientEndpoint], None]) -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    assert not needs_credentials(endpoint)
    mishap(endpoint)
    assert needs_credentials(endpoint)


@pytest.mark.parametrize("mishap", [moved, key_removed])
def test_what_is_due_waits_without_an_attempt_until_they_are_entered_again(
    mishap: Callable[[ClientEndpoint], None],
) -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    mishap(endpoint)
    UserProfileFactory()
    assert deliver(OK) == []
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts_made, Attempt.objects.count()) == ("pending", 0, 0)

    endpoint.api_key = "entered-again"
    endpoint.save()
    (request,) = deliver(OK)
    assert request.headers["x-api-key"] == "entered-again"
    assert not needs_credentials(endpoint)


def test_what_is_due_waits_for_a_lost_key_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=KEYS_LOST):
        assert deliver(OK) == []
        assert needs_credentials(endpoint)
    assert len(deliver(OK)) == 1
    assert not needs_credentials(endpoint)


def test_operators_are_told_once_when_it_begins_and_once_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    with caplog.at_level(logging.WARNING, "live_push.delivery"):
        for _ in range(3):
            with override_settings(LIVE_PUSH=KEYS_LOST):
                deliver(OK)
        (told,) = caplog.messages
        assert "needs credentials" in told
        assert "SECRET_KEYS" in told
        caplog.clear()
        deliver(OK)
        assert ["again" in message for message in caplog.messages] == [True]


def test_a_signing_secret_that_can_not_be_read_holds_an_unsigned_push_back() -> None:
    endpoint = ClientEndpointFactory(signing_secret="whsec_" + "A" * 32)
    UserProfileFactory()
    with override_settings(LIVE_PUSH=KEYS_LOST):
        assert deliver(OK) == []
    assert needs_credentials(endpoint)


def test_other_endpoints_go_on() -> None:
    ClientEndpointFactory(api_key_auth=True)
    other = ClientEndpointFactory()
    UserProfileFactory()
    with override_settings(LIVE_PUSH=KEYS_LOST):
        (request,) = deliver(OK)
    assert request.url == other.url


def test_a_key_lost_between_claim_and_start_costs_no_attempt() -> None:
    ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    transport = ScriptedTransport(OK)
    pipeline = Pipeline(using="default", name="w", threads=1, transport=transport, random=lambda: 0.0)
    assert pipeline._claim(isolated=False) == 1
    with override_settings(LIVE_PUSH=KEYS_LOST):
        pipeline._send()
        assert pipeline.run_until_idle() == 0
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts_made, transport.requests) == ("pending", 0, [])
    pipeline.close()


def test_a_secret_that_became_unreadable_between_claim_and_start_costs_no_attempt() -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    transport = ScriptedTransport(OK)
    pipeline = Pipeline(using="default", name="w", threads=1, transport=transport, random=lambda: 0.0)
    assert pipeline._claim(isolated=False) == 1
    # The secret is bound to the old host.
    ClientEndpoint.objects.filter(pk=endpoint.pk).update(url="https://elsewhere.example.com/")
    pipeline._send()
    assert pipeline.run_until_idle() == 0
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts_made, transport.requests) == ("pending", 0, [])
    pipeline.close()


def test_to_prepare_without_credentials_is_a_result_and_no_error() -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    UserProfileFactory()
    delivery = Delivery.objects.select_related("push").get()
    with override_settings(LIVE_PUSH=KEYS_LOST):
        prepared = prepare(delivery, ClientEndpoint.objects.get(pk=endpoint.pk))
    assert prepared.request is None
    assert prepared.refused is not None
    assert prepared.refused.error_code == ErrorCode.NEEDS_CREDENTIALS


def test_a_key_lost_while_a_push_is_under_way_does_not_lose_its_verdict() -> None:
    ClientEndpointFactory(basic=True)
    UserProfileFactory()
    lost = override_settings(LIVE_PUSH=KEYS_LOST)

    def accept(request: Request) -> Result:
        lost.enable()
        return Result(200, body=b"thank you, password123", body_complete=True)

    try:
        deliver(accept)
    finally:
        lost.disable()
    assert Delivery.objects.get().status == "succeeded"
    assert Attempt.objects.get().answer == b"thank you, [redacted]"


def test_an_endpoint_with_a_lost_key_can_be_switched_off_but_not_edited_as_if_all_were_well() -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    with override_settings(LIVE_PUSH=KEYS_LOST):
        endpoint = ClientEndpoint.objects.get(pk=endpoint.pk)
        with pytest.raises(ValidationError, match="SECRET_KEYS"):
            endpoint.full_clean()
        endpoint.is_active = False
        endpoint.full_clean()
        endpoint.save()


def test_a_new_origin_asks_for_the_credentials_again() -> None:
    endpoint = ClientEndpoint.objects.get(pk=ClientEndpointFactory(api_key_auth=True).pk)
    endpoint.url = "https://elsewhere.example.com/push"
    with pytest.raises(ValidationError, match="another address"):
        endpoint.full_clean()
    endpoint.api_key = "entered-again"
    endpoint.full_clean()


def test_an_endpoint_without_secrets_needs_none() -> None:
    endpoint = ClientEndpointFactory()
    moved(endpoint)
    assert not needs_credentials(endpoint)


def test_a_payload_that_can_not_be_decrypted_is_tried_again_on_schedule() -> None:
    ClientEndpointFactory()
    with override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": True}):
        UserProfileFactory()
    with stopped(START), override_settings(LIVE_PUSH=KEYS_LOST):
        Delivery.objects.update(next_attempt_at=START)
        assert deliver(OK) == []
    delivery, attempt = Delivery.objects.get(), Attempt.objects.get()
    assert (delivery.status, attempt.error_code) == ("pending", ErrorCode.MISCONFIGURED)
    assert "decrypts the stored payload" in attempt.detail


def test_a_payload_that_can_not_be_decrypted_holds_up_no_other_member() -> None:
    ClientEndpointFactory()
    with override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": True}):
        UserProfileFactory()
    with override_settings(LIVE_PUSH=KEYS_LOST):
        second = UserProfileFactory()
        (request,) = deliver(OK)
    assert f'"id":{second.pk}'.encode() in request.body
    assert UserProfile.objects.count() == 2
