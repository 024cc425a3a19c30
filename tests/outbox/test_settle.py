"""What came back is written down: attempt, verdict, confirmation and health, together or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django
import pytest
from django.core import mail
from django.db import OperationalError

from live_push import signals
from live_push.delivery.request import Request
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    Push,
    UserProfile,
)
from live_push.models.clock import stopped
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

CASES = [
    # remark, result, status, reason, error code, seconds to the next attempt
    ("200", OK, "succeeded", "", "", None),
    ("204 without a body", status(204), "succeeded", "", "", None),
    ("299", status(299), "succeeded", "", "", None),
    ("200 whose body was cut", Result(status_code=200, body=b"x"), "succeeded", "", "", None),
    ("a redirect", status(302), "pending", "", "redirect", 10),
    ("400", status(400), "pending", "", "client_error", 10),
    ("401", status(401), "pending", "", "client_error", 10),
    ("404", status(404), "pending", "", "client_error", 10),
    ("410", status(410), "failed", "gone", "gone", None),
    ("413", status(413), "failed", "too_large", "too_large", None),
    ("429", status(429), "pending", "", "rate_limited", 10),
    ("500", status(500), "pending", "", "server_error", 10),
    ("503", status(503), "pending", "", "server_error", 10),
    ("a number that is no status", status(999), "pending", "", "odd_status", 10),
    ("a refused connection", Result(error_code="connect_refused"), "pending", "", "connect_refused", 10),
    ("a timeout", Result(error_code="timeout"), "pending", "", "timeout", 10),
    ("a refused address", Result(error_code="address_refused"), "pending", "", "address_refused", 10),
]


@pytest.mark.parametrize(
    ("result", "state", "reason", "error_code", "wait"),
    [pytest.param(*case, id=remark) for remark, *case in CASES],
)
def test_an_answer_becomes_a_verdict(
    result: Result, state: str, reason: str, error_code: str, wait: int | None
) -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        deliver(result)
    delivery, attempt = Delivery.objects.get(), Attempt.objects.get()
    assert (delivery.status, delivery.reason, delivery.last_error_code) == (state, reason, error_code)
    assert (delivery.lease_token, delivery.leased_until, delivery.dialled_at) == (None, None, None)
    assert delivery.next_attempt_at == (None if wait is None else START + timedelta(seconds=wait))
    assert (delivery.ended_at is None) == (state == "pending")
    assert (attempt.number, attempt.status_code, attempt.error_code) == (1, result.status_code, error_code)


def test_a_retry_makes_a_second_attempt_of_the_same_event() -> None:
    ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory()
        (first,) = deliver(status(500))
    with stopped(START + timedelta(seconds=10)):
        (second,) = deliver()
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (first.headers["live-push-attempt"], second.headers["live-push-attempt"]) == ("1", "2")
    assert list(Attempt.objects.values_list("number", "trigger")) == [(1, "push"), (2, "retry")]


def test_the_schedule_ends_after_eight_hours_and_the_delivery_stays_in_the_log() -> None:
    ClientEndpointFactory()
    at = START
    with stopped(at):
        UserProfileFactory()
        deliver(status(404))
    while (due := Delivery.objects.get().next_attempt_at) is not None:
        at = due
        with stopped(at):
            deliver(status(404))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.reason) == ("failed", "exhausted")
    assert at < START + timedelta(hours=8)
    assert delivery.attempts_made <= 40
    assert Attempt.objects.count() == delivery.attempts_made


class TestAnAcceptedPush:
    def test_is_confirmed_with_its_sequence_and_digest(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        push = Push.objects.get()
        confirmation = Confirmation.objects.get()
        assert (confirmation.endpoint, confirmation.profile) == (endpoint, profile)
        assert (confirmation.sequence, confirmation.digest) == (push.sequence, push.digest)
        assert not UserProfile.objects.behind_or_never_sent(endpoint.pk).exists()

    def test_moves_the_confirmation_on(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        profile.save()
        deliver()
        assert Confirmation.objects.get().sequence == Push.objects.order_by("sequence").last().sequence

    def test_keeps_the_head_of_the_answer_cleaned_and_cut(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(200, b"a\x00b" + b"x" * 20_000))
        answer = bytes(Attempt.objects.get().answer)
        assert b"\x00" not in answer
        assert len(answer) <= 8 * 1024

    def test_never_keeps_our_own_secret_that_a_client_echoes(self) -> None:
        ClientEndpointFactory(api_key_auth=True)
        UserProfileFactory()
        deliver(status(401, b"the key GRscvhg53SsDg1gxxsDgcsf123 is wrong"))
        assert b"GRscvhg53SsDg1gxxsDgcsf123" not in bytes(Attempt.objects.get().answer)


class TestGone:
    def test_disables_the_endpoint_and_keeps_what_waits(self) -> None:
        endpoint = ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(3)
            assert len(deliver(status(410))) == 1
        endpoint.refresh_from_db()
        assert not endpoint.is_active
        assert "410" in endpoint.disabled_reason
        assert Delivery.objects.filter(status="pending").count() == 2

    def test_is_told_once_by_signal_and_mail(self) -> None:
        heard = []

        def hear(endpoint: ClientEndpoint, reason: str, **kwargs: object) -> None:
            heard.append((endpoint.name, reason))

        signals.endpoint_disabled.connect(hear)
        try:
            ClientEndpointFactory(name="crm", contact_email="ops@example.com")
            UserProfileFactory()
            deliver(status(410))
        finally:
            signals.endpoint_disabled.disconnect(hear)
        assert [name for name, _reason in heard] == ["crm"]
        assert [message.to for message in mail.outbox] == [["ops@example.com"]]


class TestAnEndpointThatFails:
    def fail_at(self, hours: float) -> None:
        with stopped(START + timedelta(hours=hours)):
            EndpointHealth.objects.update(rests_until=None, breaker_state="closed", failures_in_row=0)
            UserProfileFactory()
            deliver(status(500))

    def test_is_noticed_once_after_six_hours_without_success(self) -> None:
        ClientEndpointFactory(contact_email="ops@example.com")
        self.fail_at(0)
        self.fail_at(5.9)
        assert mail.outbox == []
        self.fail_at(6.1)
        self.fail_at(7)
        assert len(mail.outbox) == 1

    def test_is_disabled_after_five_days_of_attempts_without_success(self) -> None:
        endpoint = ClientEndpointFactory(contact_email="ops@example.com")
        for day in range(5):
            self.fail_at(day * 24)
        self.fail_at(5 * 24 - 1)
        endpoint.refresh_from_db()
        assert endpoint.is_active
        self.fail_at(5 * 24)
        endpoint.refresh_from_db()
        assert not endpoint.is_active
        assert [message.subject.split("” ")[1] for message in mail.outbox] == ["is failing", "was disabled"]

    def test_is_not_disabled_by_one_failure_today_and_one_six_days_later(self) -> None:
        endpoint = ClientEndpointFactory(contact_email="ops@example.com")
        self.fail_at(0)
        self.fail_at(6 * 24)
        endpoint.refresh_from_db()
        assert endpoint.is_active
        assert mail.outbox == []
        assert EndpointHealth.objects.get().failing_since == START + timedelta(days=6)

    def test_is_not_disabled_by_one_failure_six_days_after_a_repaired_outage(self) -> None:
        endpoint = ClientEndpointFactory(contact_email="ops@example.com")
        for hours in (0, 3, 6, 8):
            self.fail_at(hours)
        self.fail_at(6 * 24)
        endpoint.refresh_from_db()
        assert endpoint.is_active
        assert len(mail.outbox) == 1

    def test_is_not_disabled_within_a_day_of_its_warning(self, settings: Any) -> None:
        settings.LIVE_PUSH = {"RETRY_POLICIES": {"rare": [100 * 3600] * 9}}
        endpoint = ClientEndpointFactory(retry_policy="rare")
        for hours in (0, 1, 100, 121):
            self.fail_at(hours)
        endpoint.refresh_from_db()
        assert endpoint.is_active
        self.fail_at(125)
        endpoint.refresh_from_db()
        assert not endpoint.is_active

    def test_begins_anew_when_it_is_switched_on_again(self) -> None:
        endpoint = ClientEndpointFactory()
        for day in range(6):
            self.fail_at(day * 24)
        with stopped(START + timedelta(days=5, hours=1)):
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True)
        self.fail_at(5 * 24 + 2)
        endpoint.refresh_from_db()
        assert endpoint.is_active
        assert EndpointHealth.objects.get().failing_days == ["2026-03-06"]

    def test_is_told_to_have_recovered(self) -> None:
        ClientEndpointFactory(contact_email="ops@example.com")
        self.fail_at(0)
        self.fail_at(7)
        with stopped(START + timedelta(hours=8)):
            EndpointHealth.objects.update(rests_until=None, breaker_state="closed")
            UserProfileFactory()
            deliver()
        assert len(mail.outbox) == 2

    def test_that_is_merely_quiet_is_not_failing(self) -> None:
        endpoint = ClientEndpointFactory(contact_email="ops@example.com")
        with stopped(START):
            UserProfileFactory()
            deliver()
        with stopped(START + timedelta(days=30)):
            UserProfileFactory()
            deliver(status(500))
        endpoint.refresh_from_db()
        assert endpoint.is_active
        assert mail.outbox == []


class TestALateVerdict:
    def test_is_refused_where_the_lease_was_lost(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()

        def lose(request: object) -> Result:
            Delivery.objects.update(lease_token="00000000-0000-0000-0000-000000000000")
            return OK

        deliver(lose)
        assert Delivery.objects.get().status == "sending"
        assert not Attempt.objects.exists()
        assert not Confirmation.objects.exists()

    def test_is_refused_where_the_member_was_deleted_meanwhile(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()

        def erase(request: object) -> Result:
            profile.delete()
            return status(200, b'{"name": "Ada"}')

        deliver(erase)
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.reason) == ("cancelled", "erased")
        assert not Attempt.objects.exists()


def test_a_receiver_that_raises_harms_nothing() -> None:
    def explode(**kwargs: object) -> None:
        raise RuntimeError("boom")

    signals.delivery_succeeded.connect(explode)
    try:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver()
    finally:
        signals.delivery_succeeded.disconnect(explode)
    assert Delivery.objects.get().status == "succeeded"


def test_a_mail_server_that_fails_harms_nothing(settings: object) -> None:
    nowhere = "tests.outbox.test_settle.NoSuchBackend"
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": nowhere}}
    else:
        settings.EMAIL_BACKEND = nowhere
    ClientEndpointFactory(contact_email="ops@example.com")
    UserProfileFactory()
    deliver(status(410))
    assert not ClientEndpoint.objects.get().is_active


def test_a_transport_that_raises_is_a_failed_attempt() -> None:
    def explode(request: object) -> Result:
        raise RuntimeError("boom")

    ClientEndpointFactory()
    UserProfileFactory()
    deliver(explode)
    assert Attempt.objects.get().error_code == "unexpected"
    assert Delivery.objects.get().status == "pending"


def test_a_push_without_a_body_fails_for_good_with_the_sentence() -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    Push.objects.update(payload=None, error="customData is a list.")
    assert deliver() == []
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.reason) == ("failed", "payload")
    assert "customData" in Attempt.objects.get().detail


def test_bytes_follow_the_endpoints_options_of_now() -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        UserProfileFactory(email_address="ada@example.com")
        (first,) = deliver(status(500))
    endpoint.withheld_fields = ["emailAddress"]
    endpoint.save()
    with stopped(START + timedelta(seconds=10)):
        (second,) = deliver()
    assert b"ada@example.com" in first.body
    assert b'"emailAddress":null' in second.body
    digests = set(Attempt.objects.values_list("body_digest", flat=True))
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("ordering", "states"),
    [
        ("in_order", ["cancelled", "pending"]),
        ("latest_only", ["cancelled", "pending"]),
        ("strict", ["pending", "pending"]),
    ],
)
def test_a_newer_state_supersedes_a_failed_one_at_once_though_the_endpoint_rests(
    ordering: str, states: list[str]
) -> None:
    ClientEndpointFactory(ordering=ordering)
    profile = UserProfileFactory()

    def save_and_fail(request: Request) -> Result:
        # A newer state comes while the older one is under way; so long a rest lets nobody claim after it.
        profile.save()
        return status(503, retry_after="3600")

    deliver(save_and_fail)
    assert EndpointHealth.objects.get().rests_until is not None
    assert list(Delivery.objects.order_by("pk").values_list("status", flat=True)) == states
    assert set(Delivery.objects.filter(status="cancelled").values_list("reason", flat=True)) <= {"superseded"}


def test_what_is_settled_stays_settled_though_its_announcement_loses_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ClientEndpointFactory()
    UserProfileFactory()

    def lose_connection(*arguments: object, **more: object) -> Any:
        raise OperationalError("gone")

    def listen(**arguments: object) -> None: ...

    signals.delivery_succeeded.connect(listen)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Attempt._default_manager, "using", lose_connection)
            deliver(OK)
    finally:
        signals.delivery_succeeded.disconnect(listen)
    assert Delivery.objects.get().status == "succeeded"
    assert "The signals of the deliveries" in caplog.text
    assert "late verdict" not in caplog.text
