"""What we announce: with what, when, and that no receiver of a host can harm a delivery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import transaction
from django.dispatch import Signal
from django.test import override_settings

from live_push import signals
from live_push.models import ClientEndpoint, Delivery, UserProfile
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

Heard = list[dict[str, Any]]

PRIVATE = {"profiles_changed", "endpoint_activated", "credentials_changed"}
PUBLIC = [value for name, value in vars(signals).items() if isinstance(value, Signal) and name not in PRIVATE]


@pytest.fixture
def hear() -> Iterator[Callable[[Signal], Heard]]:
    """Listens to a signal; returns the list of what it carries, and whether a transaction was open."""
    connected: list[tuple[Signal, Any]] = []

    def listen(signal: Signal) -> Heard:
        heard: Heard = []

        def receiver(sender: Any, signal: Any, **arguments: Any) -> None:
            heard.append({**arguments, "in_transaction": transaction.get_connection().in_atomic_block})

        signal.connect(receiver)
        connected.append((signal, receiver))
        return heard

    yield listen
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.fixture
def _raising_receivers() -> Iterator[None]:
    """A host's receivers, each with a fault."""

    def receiver(sender: Any, **arguments: Any) -> None:
        raise ZeroDivisionError("a host's mistake")

    for signal in PUBLIC:
        signal.connect(receiver)
    yield
    for signal in PUBLIC:
        signal.disconnect(receiver)


def test_a_success_is_told_after_its_commit(hear: Callable[[Signal], Heard]) -> None:
    heard = hear(signals.delivery_succeeded)
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(500), OK)
    assert heard == []
    Delivery.objects.update(next_attempt_at=Delivery.objects.get().created_at)
    deliver(OK)
    (told,) = heard
    assert told["delivery"].pk == Delivery.objects.get().pk
    assert (told["attempt"].number, told["in_transaction"]) == (2, False)


def test_a_failure_for_good_is_told_once(hear: Callable[[Signal], Heard]) -> None:
    heard = hear(signals.delivery_failed)
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(413))
    (told,) = heard
    assert (told["delivery"].status, told["attempt"].status_code) == ("failed", 413)


def test_a_captured_id_is_told_with_the_one_before(hear: Callable[[Signal], Heard]) -> None:
    heard = hear(signals.third_party_id_captured)
    endpoint = ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory(third_party_id="old")
    deliver(status(200, b'{"third_party_id": "new"}'))
    (told,) = heard
    assert (told["profile_id"], told["endpoint"], told["old"], told["new"]) == (profile.pk, endpoint, "old", "new")


def test_a_disabled_endpoint_is_told_with_its_reason(hear: Callable[[Signal], Heard]) -> None:
    heard = hear(signals.endpoint_disabled)
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(410))
    (told,) = heard
    assert (told["endpoint"], "410" in told["reason"]) == (endpoint, True)


def test_lost_credentials_are_told_once_and_again_when_they_are_back(
    hear: Callable[[Signal], Heard], mailoutbox: list[EmailMessage]
) -> None:
    lost, found = hear(signals.endpoint_needs_credentials), hear(signals.endpoint_has_credentials)
    endpoint = ClientEndpointFactory(api_key_auth=True, name="acme", contact_email="ops@example.com")
    UserProfileFactory()
    for _ in range(2):
        with override_settings(LIVE_PUSH={"SECRET_KEYS": ["a key that has encrypted nothing yet"]}):
            deliver(OK)
    (told,) = lost
    assert (told["endpoint"], "SECRET_KEYS" in told["problem"], told["in_transaction"]) == (endpoint, True, False)
    assert found == []
    deliver(OK)
    assert [told["endpoint"] for told in found] == [endpoint]
    assert [mail.subject for mail in mailoutbox] == [
        "Endpoint “acme” needs credentials",
        "Endpoint “acme” has its credentials again",
    ]
    assert "SECRET_KEYS" not in mailoutbox[0].body


def test_credentials_that_a_save_makes_useless_are_told_after_its_commit(hear: Callable[[Signal], Heard]) -> None:
    lost, found = hear(signals.endpoint_needs_credentials), hear(signals.endpoint_has_credentials)
    endpoint = ClientEndpointFactory(api_key_auth=True)
    endpoint.save()
    assert (lost, found) == ([], [])
    with transaction.atomic():
        endpoint.url = "https://elsewhere.example.com/push"
        endpoint.save()
        assert lost == []
    assert [told["endpoint"] for told in lost] == [endpoint]
    endpoint.api_key = "entered-again"
    endpoint.save()
    assert [told["endpoint"] for told in found] == [endpoint]


@pytest.mark.usefixtures("_raising_receivers")
@pytest.mark.parametrize(
    ("code", "ends_as"),
    [
        pytest.param(200, "succeeded", id="a success"),
        pytest.param(413, "failed", id="a failure for good"),
        pytest.param(410, "failed", id="the end of the endpoint"),
    ],
)
def test_a_receiver_that_raises_changes_no_verdict(code: int, ends_as: str, caplog: pytest.LogCaptureFixture) -> None:
    ClientEndpointFactory()
    UserProfileFactory.create_batch(2)
    with caplog.at_level(logging.ERROR):
        deliver(status(code))
    assert Delivery.objects.filter(status=ends_as).exists()
    assert not Delivery.objects.filter(status="sending").exists()
    assert "A receiver of a live_push signal raised" in caplog.text


@pytest.mark.usefixtures("_raising_receivers")
def test_a_receiver_that_raises_takes_no_captured_id_back() -> None:
    ClientEndpointFactory(capturing=True)
    UserProfileFactory()
    deliver(status(200, b'{"third_party_id": "T-1"}'))
    assert UserProfile.objects.get().third_party_id == "T-1"


@pytest.mark.usefixtures("_raising_receivers")
def test_a_receiver_that_raises_keeps_no_endpoint_alive() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(410))
    assert not ClientEndpoint.objects.get().is_active
