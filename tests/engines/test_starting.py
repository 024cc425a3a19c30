"""What was claimed a while ago is started with the current rows of its endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command

from live_push.engines import starting
from live_push.models import ClientEndpoint, Delivery
from live_push.outbox import start
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import ScriptedTransport

from .test_pipeline import pipeline

pytestmark = pytest.mark.django_db(transaction=True)


def move_by_saving(endpoint: ClientEndpoint) -> None:
    endpoint.url = "https://new.example.com/"
    endpoint.save(update_fields=["url"])


def move_by_updating(endpoint: ClientEndpoint) -> None:
    ClientEndpoint.objects.filter(pk=endpoint.pk).update(url="https://new.example.com/")


def move_in_bulk(endpoint: ClientEndpoint) -> None:
    endpoint.url = "https://new.example.com/"
    ClientEndpoint.objects.bulk_update([endpoint], ["url"])


def move_by_loading_a_fixture(endpoint: ClientEndpoint) -> None:
    endpoint.url = "https://new.example.com/"
    (loaded,) = serializers.deserialize("json", serializers.serialize("json", [endpoint]))
    loaded.save()


@pytest.mark.parametrize("move", [move_by_saving, move_by_updating, move_in_bulk, move_by_loading_a_fixture])
def test_what_was_claimed_before_its_endpoint_moved_goes_to_the_new_address(
    move: Callable[[ClientEndpoint], None],
) -> None:
    endpoint = ClientEndpointFactory(url="https://old.example.com/")
    UserProfileFactory.create_batch(3)
    transport = ScriptedTransport()
    with pipeline(transport, threads=2) as running:
        running._claim(isolated=False)
        move(endpoint)
        running.run_until_idle()
    assert {request.url for request in transport.requests} == {"https://new.example.com/"}
    assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}


def test_a_secret_that_changed_after_the_claim_is_not_sent_any_more() -> None:
    endpoint = ClientEndpointFactory(auth_method="api_key", api_key="old-key-123")
    UserProfileFactory()
    transport = ScriptedTransport()
    with pipeline(transport) as running:
        running._claim(isolated=False)
        endpoint.api_key = "new-key-123"
        endpoint.save()
        running.run_until_idle()
    assert [request.headers["x-api-key"] for request in transport.requests] == ["new-key-123"]


class TestAnEndpointThatIsKeptInMemory:
    """A version is no count of writes: a count could reach the same number again with other contents."""

    def started_with(self, endpoints: dict[int, ClientEndpoint]) -> set[str]:
        UserProfileFactory()
        shares = claim(ClaimRequest(name="w", endpoints=endpoints), using="default")
        deliveries = [delivery for share in shares for delivery in share.deliveries]
        return {one.endpoint.url for one in starting.start_current(deliveries, [], using="default", patient=())}

    def test_is_not_used_after_a_fixture_has_brought_its_earlier_contents_back(self, tmp_path: Path) -> None:
        endpoint = ClientEndpointFactory(url="https://right.example/")
        fixture = tmp_path / "endpoint.json"
        fixture.write_text(serializers.serialize("json", [endpoint]))
        endpoint.url = "https://wrong.example/"
        endpoint.save()
        kept: dict[int, ClientEndpoint] = {}
        assert self.started_with(kept) == {"https://wrong.example/"}
        call_command("loaddata", str(fixture), verbosity=0)
        assert self.started_with(kept) == {"https://right.example/"}

    def test_is_not_used_for_a_new_one_with_the_same_id(self) -> None:
        endpoint = ClientEndpointFactory(url="https://old.example/")
        kept: dict[int, ClientEndpoint] = {}
        assert self.started_with(kept) == {"https://old.example/"}
        key = endpoint.pk
        endpoint.delete()
        ClientEndpointFactory(pk=key, url="https://new.example/")
        assert self.started_with(kept) == {"https://new.example/"}

    def test_is_forgotten_when_nothing_is_due_for_it(self) -> None:
        ClientEndpointFactory()
        kept: dict[int, ClientEndpoint] = {}
        self.started_with(kept)
        assert kept
        claim(ClaimRequest(name="w", endpoints=kept), using="default")
        assert kept == {}


def test_what_was_started_for_an_endpoint_that_is_disabled_meanwhile_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On SQLite and MariaDB the new values are read by a second statement."""
    endpoint = ClientEndpointFactory()
    UserProfileFactory()
    (share,) = claim(ClaimRequest(name="w"), using="default")
    read = start._read_started

    def disabled_meanwhile(*arguments: Any, **more: Any) -> Any:
        ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)
        return read(*arguments, **more)

    monkeypatch.setattr(start, "_read_started", disabled_meanwhile)
    started = starting.start_current(share.deliveries, [], using="default", patient=())
    delivery = Delivery.objects.get()
    if not started:
        assert (delivery.status, delivery.attempts_made, delivery.run_started_at) == ("pending", 0, None)
