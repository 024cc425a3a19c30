"""Every way in which HTTP can fail, through the whole pipeline: save, claim, request, verdict, log row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.test import override_settings

from live_push.engines.run import run_once
from live_push.models import Attempt, Delivery, DeliveryStatus
from live_push.models.clock import stopped
from live_push.testing.certificate_authority import CertificateAuthority
from live_push.testing.https_server import Behaviour, EndpointServer
from tests import faults
from tests.delivery.test_faults import BODY_FAULTS, NO_ANSWER
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.faults import Drip

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.allow_hosts(["127.0.0.0/8"])]

# What lasts longer ends with it; what ends by itself has the usual time.
SHORT_SECONDS, USUAL_SECONDS = 0.4, 15
# How late a machine with much to do may notice that time is up.
GRACE_MS = 2000

REFUSALS = [
    *((code, "redirect") for code in (300, 301, 302, 303, 304, 307, 308, 399)),
    *((code, "client_error") for code in (400, 401, 403, 404, 408, 409, 422, 499)),
    (410, "gone"),
    (413, "too_large"),
    (429, "rate_limited"),
    *((code, "server_error") for code in (500, 502, 503, 504, 599)),
    *((code, "odd_status") for code in (600, 999)),
]
FOR_GOOD = (410, 413)
LOOPBACK: dict[str, Any] = {"ALLOWED_PRIVATE_NETWORKS": ["127.0.0.0/8"], "ALLOWED_PORTS": None}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def push_once(url: str, **settings: Any) -> Attempt:
    """Save a member, deliver what is due as a worker does, and return the log's row."""
    endpoint = ClientEndpointFactory(url=url)
    with override_settings(LIVE_PUSH=settings):
        profile = UserProfileFactory()
        run_once("default", threads=2, random=lambda: 0.0)
    attempt = Attempt.objects.select_related("delivery").get()
    assert (attempt.delivery.endpoint_id, attempt.delivery.profile_id) == (endpoint.pk, profile.pk)
    assert (attempt.number, attempt.trigger) == (1, "push")
    assert attempt.duration_ms is not None
    assert attempt.duration_ms < settings.get("TOTAL_TIMEOUT_SECONDS", USUAL_SECONDS) * 1000 + GRACE_MS
    assert "\x00" not in attempt.detail
    assert len(attempt.answer or b"") <= 8192
    return attempt


def assert_failed(attempt: Attempt, code: str, status_code: int | None = None) -> None:
    """It is told in words, and tried again."""
    delivery = attempt.delivery
    assert (attempt.error_code, attempt.status_code) == (code, status_code)
    assert attempt.detail.endswith(".") or status_code is not None
    assert delivery.status == DeliveryStatus.PENDING
    assert delivery.next_attempt_at > attempt.started_at
    assert (delivery.last_error_code, delivery.last_status_code) == (code, status_code)
    assert (delivery.lease_token, delivery.leased_until) == (None, None)


@pytest.mark.parametrize(("behaviour", "code"), NO_ANSWER)
def test_no_answer_is_a_failed_attempt_without_a_status(stack: ExitStack, behaviour: Behaviour, code: str) -> None:
    server = stack.enter_context(EndpointServer())
    server.behave(behaviour)
    seconds = SHORT_SECONDS if code == "timeout" else USUAL_SECONDS
    assert_failed(push_once(server.url, **{**server.settings, "TOTAL_TIMEOUT_SECONDS": seconds}), code)


@pytest.mark.parametrize(("behaviour", "at_least"), BODY_FAULTS)
def test_an_acceptance_stands_whatever_its_body_does(stack: ExitStack, behaviour: Behaviour, at_least: int) -> None:
    server = stack.enter_context(EndpointServer())
    server.behave(behaviour)
    never_ends = isinstance(behaviour, Drip) or getattr(behaviour, "then", "") == "silence"
    seconds = SHORT_SECONDS if never_ends else USUAL_SECONDS
    attempt = push_once(server.url, **{**server.settings, "TOTAL_TIMEOUT_SECONDS": seconds})
    assert (attempt.error_code, attempt.status_code) == ("", 200)
    assert attempt.delivery.status == DeliveryStatus.SUCCEEDED


@pytest.mark.parametrize(("status_code", "code"), REFUSALS)
def test_every_refusal_is_told_with_its_status(stack: ExitStack, status_code: int, code: str) -> None:
    server = stack.enter_context(EndpointServer())
    server.script([status_code])
    attempt = push_once(server.url, **server.settings)
    if status_code in FOR_GOOD:
        assert (attempt.status_code, attempt.error_code) == (status_code, code)
        assert attempt.delivery.status == DeliveryStatus.FAILED
    else:
        assert_failed(attempt, code, status_code)


def test_a_packed_bomb_is_cut_and_its_status_counts(stack: ExitStack) -> None:
    server = stack.enter_context(EndpointServer())
    server.behave(faults.bomb())
    attempt = push_once(server.url, **server.settings)
    assert (attempt.status_code, attempt.delivery.status) == (200, DeliveryStatus.SUCCEEDED)


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        (faults.expired, "tls_expired"),
        (faults.not_yet_valid, "tls_expired"),
        (faults.for_another_name, "tls_wrong_name"),
        (faults.from_a_stranger, "tls_unknown_issuer"),
        (faults.from_an_unknown_authority, "tls_unknown_issuer"),
        (faults.self_signed, "tls_unknown_issuer"),
        (faults.old_protocol, "tls_failed"),
        (faults.wants_a_client_certificate, "tls_failed"),
    ],
)
def test_encryption_at_fault_is_named_and_nothing_is_sent(
    stack: ExitStack, flaw: Callable[[CertificateAuthority], Any], code: str
) -> None:
    authority = CertificateAuthority()
    server = stack.enter_context(EndpointServer(authority=authority, context=flaw(authority)))
    assert_failed(push_once(server.url, **server.settings), code)
    assert server.received == []


@pytest.mark.parametrize(
    ("serve", "code"),
    [
        (faults.say_nothing, "timeout"),
        (faults.drip_handshake, "timeout"),
        (lambda connection, stopping: None, "reset"),
        (faults.speak_plainly, "tls_failed"),
        (faults.speak_ssh, "tls_failed"),
    ],
    ids=["no handshake", "a handshake that drips", "hangs up", "plain HTTP", "another protocol"],
)
def test_without_encryption_nothing_is_sent(stack: ExitStack, serve: Any, code: str) -> None:
    server = stack.enter_context(faults.tcp_server(serve))
    seconds = SHORT_SECONDS if code == "timeout" else USUAL_SECONDS
    assert_failed(push_once(server.url, **LOOPBACK, TOTAL_TIMEOUT_SECONDS=seconds), code)


def test_no_server_listens() -> None:
    with faults.tcp_server() as server:
        pass
    assert_failed(push_once(server.url, **LOOPBACK), "connect_refused")


def test_nobody_picks_up() -> None:
    with faults.unreachable() as port:
        url = f"https://127.0.0.1:{port}/"
        assert_failed(push_once(url, **LOOPBACK, CONNECT_TIMEOUT_SECONDS=0.1), "connect_timeout")


def test_nobody_knows_the_name() -> None:
    # Such names never exist (RFC 6761).
    assert_failed(push_once("https://crm.client.invalid/"), "dns_failed")


def test_an_address_of_our_own_network_is_refused() -> None:
    with faults.tcp_server() as server:
        assert_failed(push_once(server.url, ALLOWED_PORTS=None), "url_refused")
        assert server.connections == 0


def test_one_fault_after_another_is_one_delivery_and_the_last_word_is_an_acceptance(stack: ExitStack) -> None:
    server = stack.enter_context(EndpointServer())
    server.script([500, faults.hang_up, faults.Raw(b"garbage\r\n\r\n"), 200])
    ClientEndpointFactory(url=server.url)
    stack.enter_context(override_settings(LIVE_PUSH=server.settings))
    UserProfileFactory()
    while (delivery := Delivery.objects.get()).status == DeliveryStatus.PENDING:
        with stopped(delivery.next_attempt_at):
            run_once("default", threads=1, random=lambda: 0.0)
    assert delivery.status == DeliveryStatus.SUCCEEDED
    told = [(row.number, row.error_code, row.status_code) for row in delivery.attempts.order_by("number")]
    assert told == [(1, "server_error", 500), (2, "reset", None), (3, "protocol_error", None), (4, "", 200)]
    assert len({received.headers["webhook-id"] for received in server.received}) == 1
    assert len({received.body for received in server.received}) == 1
