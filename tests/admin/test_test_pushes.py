"""The test push's page: what will go out, what came back, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from live_push.admin.endpoints.test_push_steps import TLS
from live_push.admin.shared.history import history_in_words
from live_push.delivery.request import Certificate, Request
from live_push.models import ClientEndpoint, Delivery, Push
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, status

from .conftest import Staff
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)


def page_of(client: Client, endpoint: ClientEndpoint, **data: Any) -> str:
    return str(client.post(url("clientendpoint_test", endpoint.pk), data).content.decode())


def test_looking_sends_nothing(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    endpoint = ClientEndpointFactory(basic=True)
    page = boss.get(url("clientendpoint_test", endpoint.pk)).content.decode()
    assert "Basic ••••" in page
    assert "live-push-test" in page
    assert transport.requests == []


def test_a_push_tells_request_answer_and_time_on_one_page(boss: Client, answers: Any) -> None:
    answers(status(503, b'{"why": "busy"}', duration_ms=182))
    page = page_of(boss, ClientEndpointFactory())
    for told in ("status 503 after 182 ms", "server_error", "Ask the client to check its logs.", "busy", "webhook-id"):
        assert told in page


def test_a_hostile_answer_is_text(boss: Client, answers: Any) -> None:
    answers(status(200, b"<script>alert(1)</script>"))
    page = page_of(boss, ClientEndpointFactory())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("answer", "is_cut"),
    [
        pytest.param(status(200, b"short"), False, id="all of it"),
        pytest.param(status(200, b"x" * 5000), True, id="longer than is shown"),
        pytest.param(Result(status_code=200, body=b"half", body_complete=False), True, id="a lost connection"),
    ],
)
def test_an_answer_that_is_cut_says_so(boss: Client, answers: Any, answer: Result, is_cut: bool) -> None:
    answers(answer)
    page = boss.post(url("clientendpoint_test", ClientEndpointFactory().pk)).content.decode()
    assert ("Cut here: the rest of the answer was not stored." in page) == is_cut
    assert "[cut]" not in page


def test_no_answer_is_told_without_a_number(boss: Client, answers: Any) -> None:
    answers(Result(error_code="tls_expired", duration_ms=40))
    page = page_of(boss, ClientEndpointFactory())
    assert "no answer, after 40 ms" in page
    assert "certificate has expired" in page


@pytest.mark.parametrize(
    ("result", "told"),
    [
        pytest.param(OK, "done done done done done", id="accepted"),
        pytest.param(status(500), "done done done done failed", id="answered, and refused"),
        pytest.param(
            Result(error_code="dns_failed"), "failed not-reached not-reached not-reached failed", id="no name"
        ),
        pytest.param(
            Result(error_code="address_refused"), "done failed not-reached not-reached failed", id="not allowed"
        ),
        pytest.param(Result(error_code="connect_refused"), "done done failed not-reached failed", id="nobody there"),
        pytest.param(Result(error_code="tls_wrong_name"), "done done done failed failed", id="another's certificate"),
        pytest.param(Result(error_code="protocol_error"), "done done done done failed", id="no HTTP"),
        # Whether the handshake was over is not known.
        pytest.param(Result(error_code="timeout"), "done done done not-known failed", id="silence"),
        pytest.param(
            Result(error_code="host_made"), "not-known not-known not-known not-known failed", id="a code of a host"
        ),
    ],
)
def test_each_step_is_told_as_far_as_it_is_known(boss: Client, answers: Any, result: Result, told: str) -> None:
    answers(result)
    context = boss.post(url("clientendpoint_test", ClientEndpointFactory().pk)).context
    assert [str(step.badge.word) for step in context["outcome"]["steps"]] == [
        word.replace("-", " ") for word in told.split()
    ]


@pytest.mark.parametrize(
    "result", [pytest.param(OK, id="accepted"), pytest.param(Result(error_code="timeout"), id="silent afterwards")]
)
def test_the_step_of_encryption_tells_issuer_and_end_of_the_certificate(
    boss: Client, answers: Any, result: Result
) -> None:
    def presenting(request: Request) -> Result:
        assert request.connection_info is not None
        request.connection_info.certificate = Certificate("Let's <b>Encrypt</b>, R3", START)
        return result

    answers(presenting)
    response = boss.post(url("clientendpoint_test", ClientEndpointFactory().pk))
    step = response.context["outcome"]["steps"][TLS]
    assert (str(step.badge.word), step.detail) == (
        "done",
        "issued by Let's <b>Encrypt</b>, R3, valid until March 1, 2026",
    )
    assert "&lt;b&gt;Encrypt&lt;/b&gt;" in response.content.decode()


def test_an_answer_without_the_id_is_told_in_the_ids_own_step(boss: Client, answers: Any) -> None:
    answers(OK)
    endpoint = ClientEndpointFactory(capturing=True)
    steps = boss.post(url("clientendpoint_test", endpoint.pk)).context["outcome"]["steps"]
    assert [(str(step.name), str(step.badge.word)) for step in steps[-2:]] == [
        ("Answer", "done"),
        ("Third-party ID", "failed"),
    ]


def test_a_success_on_a_paused_endpoint_offers_to_resume_it_and_does_not(boss: Client, answers: Any) -> None:
    answers(OK)
    endpoint = ClientEndpointFactory(is_active=False)
    assert "Resume the endpoint" in page_of(boss, endpoint)
    assert not ClientEndpoint.objects.get().is_active


def test_an_id_is_shown_and_not_stored(boss: Client, answers: Any) -> None:
    answers(status(200, b'{"third_party_id": "T-1"}'))
    assert "A real push would store the third-party ID “T-1”" in page_of(boss, ClientEndpointFactory(capturing=True))


def test_a_double_click_sends_once(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    endpoint = ClientEndpointFactory()
    page_of(boss, endpoint)
    assert "Wait five seconds" in page_of(boss, endpoint)
    assert len(transport.requests) == 1


def test_a_chosen_members_current_state_can_be_sent(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    profile = UserProfileFactory(city="Vienna")
    page_of(boss, ClientEndpointFactory(), member=profile.pk, reason="ticket 7")
    assert b'"city":"Vienna"' in transport.requests[0].body


def test_a_real_members_data_goes_out_for_a_reason_only(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    endpoint, profile = ClientEndpointFactory(), UserProfileFactory()
    for blank in ("", " "):
        assert "Enter a reason for sending a real member" in page_of(boss, endpoint, member=profile.pk, reason=blank)
    assert transport.requests == []
    assert not LogEntry.objects.exists()


def test_a_real_members_data_is_looked_at_without_one(boss: Client) -> None:
    profile = UserProfileFactory(city="Vienna")
    page = boss.get(url("clientendpoint_test", ClientEndpointFactory().pk), {"member": profile.pk}).content.decode()
    assert "Vienna" in page
    assert "Enter a reason" not in page


def test_an_unknown_member_is_said_and_nothing_is_sent(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    assert "There is no member with this id." in page_of(boss, ClientEndpointFactory(), member=404)
    assert transport.requests == []


def test_who_may_not_see_content_sends_nobodys_data(staff: Staff, answers: Any) -> None:
    transport = answers(OK)
    profile = UserProfileFactory(city="Vienna")
    client = staff("view_clientendpoint", "send_test_push")
    page_of(client, ClientEndpointFactory(), member=profile.pk)
    assert b'"id":0' in transport.requests[0].body


def test_without_the_permission_nothing_is_sent(staff: Staff, answers: Any) -> None:
    transport = answers(OK)
    client = staff("view_clientendpoint", "change_clientendpoint")
    assert client.post(url("clientendpoint_test", ClientEndpointFactory().pk)).status_code == 403
    assert transport.requests == []


def test_missing_credentials_are_said_before_anything_is_sent(boss: Client, answers: Any) -> None:
    transport = answers(OK)
    assert "no API key yet" in page_of(boss, ClientEndpointFactory(auth_method="api_key"))
    assert transport.requests == []


def test_no_transaction_is_open_while_the_client_thinks_even_where_every_request_has_one(
    boss: Client, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    seen: list[bool] = []

    def looking(request: Any) -> Result:
        seen.append(connection.in_atomic_block)
        return OK

    answers(looking)
    page_of(boss, ClientEndpointFactory())
    assert seen == [False]


def test_the_history_tells_the_verdict_and_nothing_of_the_answer(boss: Client, answers: Any) -> None:
    answers(status(500, b"secret"))
    page_of(boss, ClientEndpointFactory())
    assert history_in_words(LogEntry.objects.get()) == "Sent a test push: server_error."


def test_the_history_tells_whose_state_was_sent_and_why(boss: Client, answers: Any) -> None:
    answers(OK)
    profile = UserProfileFactory()
    page_of(boss, ClientEndpointFactory(), member=profile.pk, reason="ticket 7")
    said = history_in_words(LogEntry.objects.get())
    assert said == f"Sent a test push with the state of member #{profile.pk}: accepted. Reason: ticket 7"


def test_it_leaves_no_trace_in_the_log(boss: Client, answers: Any) -> None:
    answers(OK)
    page_of(boss, ClientEndpointFactory())
    assert not Push.objects.exists()
    assert not Delivery.objects.exists()


def test_the_list_leads_to_the_page_of_one_endpoint(boss: Client) -> None:
    first, second = ClientEndpointFactory.create_batch(2)
    data = {"action": "send_test_push", "_selected_action": [first.pk]}
    assert boss.post(url("clientendpoint_changelist"), data).url == url("clientendpoint_test", first.pk)  # type: ignore[attr-defined]
    data["_selected_action"].append(second.pk)  # type: ignore[attr-defined]
    response = boss.post(url("clientendpoint_changelist"), data, follow=True)
    assert "Select only one endpoint" in response.content.decode()
