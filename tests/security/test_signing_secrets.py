"""Signing secrets as secrets: random, shown once, stored encrypted, replaced when their key is lost."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta

import pytest
from django.test import override_settings
from standardwebhooks import Webhook, WebhookVerificationError

from live_push.delivery.request import Request
from live_push.housekeeping import signing_secrets
from live_push.models import ClientEndpoint, EndpointHealth
from live_push.models.clock import db_now
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(endpoint: ClientEndpoint) -> ClientEndpoint:
    return ClientEndpoint.objects.get(pk=endpoint.pk)


def genuine(request: Request, secret: str) -> bool:
    headers = {name: str(value) for name, value in request.headers.items()}
    try:
        Webhook(secret).verify(request.body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_secret_is_32_random_bytes() -> None:
    one, other = (signing_secrets.rotate(ClientEndpointFactory()) for _ in range(2))
    assert one != other
    assert len(b64decode(one.removeprefix("whsec_"))) == 32


def test_its_text_comes_back_to_be_shown_once_and_shows_in_no_traceback() -> None:
    text = signing_secrets.rotate(ClientEndpointFactory())
    assert f"{text}".startswith("whsec_")
    assert repr(text) == "***"


def test_a_secret_whose_key_is_lost_is_replaced_without_an_overlap() -> None:
    endpoint = ClientEndpointFactory()
    signing_secrets.rotate(endpoint)
    with override_settings(LIVE_PUSH={"SECRET_KEYS": ["a key that has encrypted nothing yet"]}):
        new = signing_secrets.rotate(fresh(endpoint))
        assert fresh(endpoint).signing_secrets(db_now("default")) == [new]
        assert not EndpointHealth.objects.get(endpoint=endpoint).needs_credentials


def test_a_retry_is_signed_with_the_secret_of_its_own_time() -> None:
    endpoint = ClientEndpointFactory(retry_policy="at_once")
    UserProfileFactory()
    with override_settings(LIVE_PUSH={"RETRY_POLICIES": {"at_once": [0]}}):
        old = signing_secrets.rotate(endpoint)

        def refuse(request: Request) -> object:
            new.append(signing_secrets.rotate(fresh(endpoint), overlap=timedelta()))
            return status(500)

        new: list[str] = []
        first, second = deliver(refuse, OK)  # type: ignore[arg-type]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [genuine(first, old), genuine(first, new[0])] == [True, False]
    assert [genuine(second, old), genuine(second, new[0])] == [False, True]


def test_a_push_without_a_secret_carries_no_signature() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    (request,) = deliver(OK)
    assert "webhook-signature" not in request.headers
