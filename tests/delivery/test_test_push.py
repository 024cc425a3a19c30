"""A test push: the same request as a real one, and no trace of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from live_push.contract import fields
from live_push.contract.payload import ProfilePayload
from live_push.delivery import test_push
from live_push.delivery.request import Request
from live_push.engines.run import run_once
from live_push.exceptions import PayloadError
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, EndpointHour, Push
from live_push.outbox.snapshots import current_snapshot
from live_push.rules.result import Result
from live_push.testing.https_server import Answer, EndpointServer, Reset
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, ScriptedTransport, status

from .lab import KINDS

pytestmark = pytest.mark.django_db(transaction=True)

EACH_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def sent(endpoint: ClientEndpoint, result: Result = OK, **options: Any) -> test_push.TestPushResult:
    request = test_push.compose(endpoint, at=START, **options)
    return test_push.send_test_push(endpoint, request, ScriptedTransport(result))


class UnbuildableSerializer(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        raise PayloadError("country must be text.")


def test_it_carries_the_synthetic_members_body_and_says_that_it_is_a_test() -> None:
    request = sent(ClientEndpointFactory()).request
    body = json.loads(request.body)
    assert [body["id"], list(body)] == [0, [field.key for field in fields.BODY]]
    assert request.headers["live-push-test"] == "1"
    assert "live-push-sequence" not in request.headers


def test_it_can_carry_a_members_current_state() -> None:
    profile = UserProfileFactory(city="Vienna")
    body = json.loads(sent(ClientEndpointFactory(), snapshot=current_snapshot(profile)).request.body)
    assert (body["id"], body["city"]) == (profile.pk, "Vienna")


def test_a_payload_that_can_not_be_built_is_reported_with_the_cause() -> None:
    profile = UserProfileFactory()
    with (
        override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": f"{__name__}.UnbuildableSerializer"}),
        pytest.raises(PayloadError, match="country must be text"),
    ):
        sent(ClientEndpointFactory(), snapshot=current_snapshot(profile))


@EACH_KIND
def test_it_reaches_a_paused_endpoint_over_the_real_transport(kind: type[Any]) -> None:
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        endpoint = ClientEndpointFactory(url=server.url, is_active=False, basic=True)
        transport = kind()
        answered = test_push.send_test_push(endpoint, test_push.compose(endpoint, at=START), transport)
        transport.close()
        (received,) = server.received
    assert (answered.error_code, answered.result.status_code) == ("", 200)
    assert received.headers["live-push-test"] == "1"
    assert received.headers["authorization"].startswith("Basic ")
    assert received.body == answered.request.body


@pytest.mark.parametrize(
    ("behaviour", "error_code"),
    [pytest.param(Answer(200), "", id="an answer"), pytest.param(Reset(), "reset", id="none after the handshake")],
)
@EACH_KIND
def test_it_reports_the_issuer_and_the_expiry_of_the_certificate(
    kind: type[Any], behaviour: Any, error_code: str
) -> None:
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        server.behave(behaviour)
        endpoint = ClientEndpointFactory(url=server.url)
        transport = kind()
        answered = test_push.send_test_push(endpoint, test_push.compose(endpoint, at=START), transport)
        transport.close()
    assert answered.error_code == error_code
    assert answered.certificate is not None
    assert answered.certificate.issuer == "live_push throw-away authority"
    assert timedelta(days=29) < answered.certificate.expires_at - datetime.now(UTC) <= timedelta(days=30)


@EACH_KIND
def test_a_refused_certificate_is_not_reported(kind: type[Any]) -> None:
    with EndpointServer() as server, override_settings(LIVE_PUSH={**server.settings, "CA_BUNDLE": None}):
        endpoint = ClientEndpointFactory(url=server.url)
        transport = kind()
        answered = test_push.send_test_push(endpoint, test_push.compose(endpoint, at=START), transport)
        transport.close()
    assert (answered.error_code, answered.certificate) == ("tls_unknown_issuer", None)


def test_an_ordinary_delivery_does_not_read_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("live_push.delivery.tls.certificate_of", asked.append)
    with EndpointServer() as server, override_settings(LIVE_PUSH=server.settings):
        ClientEndpointFactory(url=server.url)
        UserProfileFactory()
        run_once("default", threads=1, random=lambda: 0.0)
        assert len(server.received) == 1
    assert asked == []


def test_it_stores_nothing_for_any_answer() -> None:
    endpoint = ClientEndpointFactory(capturing=True)
    before = EndpointHealth.objects.values().get()
    for result in (OK, status(200, b'{"third_party_id": "T-1"}'), status(500), status(410)):
        sent(endpoint, result)
    assert EndpointHealth.objects.values().get() == before
    for model in (Push, Delivery, Attempt, EndpointHour):
        assert not model.objects.exists()
    assert ClientEndpoint.objects.get().is_active


def test_it_says_which_id_it_would_have_stored() -> None:
    answered = sent(ClientEndpointFactory(capturing=True), status(200, b'{"third_party_id": " T-1 "}'))
    assert (answered.error_code, answered.reply.third_party_id) == ("", "T-1")  # type: ignore[union-attr]


def test_a_missing_id_fails_if_one_is_required() -> None:
    assert sent(ClientEndpointFactory(capturing=True)).error_code == "id_missing"
    ClientEndpoint.objects.all().delete()
    assert sent(ClientEndpointFactory()).error_code == ""


@pytest.mark.parametrize(
    ("result", "error_code"),
    [
        pytest.param(status(404), "client_error", id="an answer that refuses"),
        pytest.param(Result(error_code="tls_expired"), "tls_expired", id="no answer at all"),
    ],
)
def test_a_failure_has_the_error_code_of_a_delivery(result: Result, error_code: str) -> None:
    assert sent(ClientEndpointFactory(), result).error_code == error_code


def test_the_shown_answer_holds_none_of_our_secrets() -> None:
    answered = sent(ClientEndpointFactory(api_key_auth=True), status(401, b"no GRscvhg53SsDg1gxxsDgcsf123 here\x1b[2J"))
    assert answered.answer == "no [redacted] here\\x1b[2J"


def test_the_shown_answer_holds_no_token_of_the_url() -> None:
    endpoint = ClientEndpointFactory(url="https://example.com/push?token=T0PSECRET")
    assert sent(endpoint, status(404, b"no /push?token=T0PSECRET here")).answer == "no /push?token=[redacted] here"


def test_nothing_of_the_database_is_held_while_it_waits_for_the_client() -> None:
    def looking(request: Request) -> Result:
        assert not connection.in_atomic_block
        return OK

    endpoint = ClientEndpointFactory()
    test_push.send_test_push(endpoint, test_push.compose(endpoint, at=START), ScriptedTransport(looking))
