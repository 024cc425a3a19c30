"""A push goes to where its endpoint points now, and credentials never follow it to another host."""

from __future__ import annotations

import pytest
from django.test import override_settings

from live_push import api
from live_push.models import ClientEndpoint, Delivery
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

CORRECTED = "https://right.example.com/push"


def correct(endpoint: ClientEndpoint, **also: str) -> None:
    for name, value in {"url": CORRECTED, **also}.items():
        setattr(endpoint, name, value)
    endpoint.save()


@override_settings(LIVE_PUSH={"RETRY_POLICIES": {"at_once": [0, 0]}})
def test_a_retry_never_goes_to_an_address_that_was_corrected_away() -> None:
    endpoint = ClientEndpointFactory(url="https://wrong.example.com/push", retry_policy="at_once")
    UserProfileFactory()

    def refuse(request: object) -> object:
        correct(ClientEndpoint.objects.get(pk=endpoint.pk))
        return status(500)

    first, second = deliver(refuse, OK)  # type: ignore[arg-type]
    assert (first.url, second.url) == ("https://wrong.example.com/push", CORRECTED)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_a_redelivery_goes_to_the_corrected_address_too() -> None:
    endpoint = ClientEndpointFactory(url="https://wrong.example.com/push")
    UserProfileFactory()
    deliver(status(413))
    correct(endpoint)
    api.redeliver(Delivery.objects.all())
    assert [request.url for request in deliver(OK)] == [CORRECTED]


def test_the_new_host_gets_no_credential_that_was_typed_for_the_old_one() -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True, url="https://wrong.example.com/push")
    UserProfileFactory()
    correct(endpoint)
    assert deliver(OK) == []
    correct(endpoint, api_key="typed-for-the-new-host")
    (request,) = deliver(OK)
    assert (request.url, request.headers["x-api-key"]) == (CORRECTED, "typed-for-the-new-host")
