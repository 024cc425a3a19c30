"""Refusals, log and history are said in the language of their reader, whatever language they were written in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from live_push.models import Attempt, ClientEndpoint, Delivery
from live_push.rules.messages import Message, read
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, deliver, status

from .forms import submit
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

GERMAN = {"accept-language": "de"}


@pytest.fixture(autouse=True)
def _language_stays_here() -> Iterator[None]:
    with translation.override(translation.get_language()):
        yield


def test_a_form_refuses_in_the_readers_language(boss: Client) -> None:
    form, address = "clientendpoint_form", url("clientendpoint_change", ClientEndpointFactory().pk)
    boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    changes: dict[str, Any] = {"url": "https://10.0.0.1/", "extra_headers": '{"Authorization": "x"}'}
    page = submit(boss, address, form, **changes).content.decode()
    assert "Der Host ist keine öffentliche Adresse" in page
    assert "Der Header Authorization ist live_push vorbehalten" in page


def test_a_ladder_is_refused_in_the_readers_language(boss: Client) -> None:
    program = TierProgramFactory()
    boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    address = url("tierprogram_change", program.pk)
    page = submit(boss, address, "tierprogram_form", **{"tiers-1-max_value": "2000", "time_zone": "Vienna"})
    assert "Es gibt keine Zeitzone" in page.content.decode()
    page = submit(boss, address, "tierprogram_form", **{"tiers-1-max_value": "2000"})
    assert "ist eine Lücke" in page.content.decode()


def test_what_one_did_is_told_in_the_language_of_who_reads_it(boss: Client, answers: Any) -> None:
    endpoint = ClientEndpointFactory(name="acme")
    UserProfileFactory()
    deliver(status(413))
    answers(OK)
    delivery = Delivery.objects.get()
    boss.post(url("clientendpoint_test", endpoint.pk), headers=GERMAN)
    boss.post(url("delivery_action", delivery.pk), {"action": "redeliver"}, headers=GERMAN)
    boss.post(url("clientendpoint_switch", endpoint.pk), {"to": "pause"}, headers=GERMAN)
    assert ClientEndpoint.objects.get().disabled_reason == "Paused by boss."
    history, list_ = url("clientendpoint_history", endpoint.pk), url("clientendpoint_changelist")
    for address, language, told in (
        (history, "en", "Sent a test push: accepted."),
        (history, "de", "Test-Push gesendet: angenommen."),
        (history, "de", "Angehalten."),
        (list_, "en", "Paused by boss."),
        (list_, "de", "Angehalten von boss."),
        (url("delivery_change", delivery.pk), "en", "Redeliver: the same event again ·"),
        (url("delivery_change", delivery.pk), "de", "Erneut zustellen: dasselbe Ereignis noch einmal ·"),
    ):
        assert told in boss.get(address, headers={"accept-language": language}).content.decode(), told


def test_the_log_is_told_in_the_readers_language(boss: Client) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(Result(error_code="dns_failed", detail=Message("dns_unknown")))
    UserProfileFactory(custom_data={"nested": {"too": "deep"}})
    UserProfileFactory()
    deliver(Result(error_code="dns_failed", detail="The host's own transport has no German."))
    pages = [
        boss.get(url("delivery_change", delivery.pk), headers=GERMAN).content.decode()
        for delivery in Delivery.objects.order_by("pk")
    ]
    assert "Den Hostnamen gibt es nicht." in pages[0]
    assert "customData darf nur Texte, Zahlen, Wahrheitswerte und null enthalten" in pages[1]
    assert "The host&#x27;s own transport has no German." in pages[2]
    kept = Attempt.objects.filter(detail__contains="dns_unknown").get()
    assert (kept.detail, read(kept.detail)) == ("The host name does not exist.", Message("dns_unknown"))


def test_what_is_typed_is_refused_in_the_readers_language(boss: Client) -> None:
    form, address = "clientendpoint_form", url("clientendpoint_change", ClientEndpointFactory().pk)
    boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    page = submit(boss, address, form, auth_method="api_key", new_api_key="with blanks").content.decode()
    assert "Ein API-Schlüssel hat 1 bis 1024 druckbare ASCII-Zeichen" in page
    form, address = "userprofile_form", url("userprofile_change", UserProfileFactory().pk)
    page = submit(boss, address, form, custom_data='{"nested": {"too": "deep"}}').content.decode()
    assert "darf nur Texte, Zahlen, Wahrheitswerte und null enthalten" in page


def test_what_a_page_refuses_to_do_is_said_in_the_readers_language(boss: Client) -> None:
    TierProgramFactory()
    profile, endpoint = UserProfileFactory(), ClientEndpointFactory()
    boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    same = {"tier": profile.tier_membership.tier_id, "reason": "ticket"}
    assert "Das Mitglied ist schon in" in boss.post(url("userprofile_override", profile.pk), same).content.decode()
    for _ in range(3):
        page = boss.post(url("clientendpoint_signing", endpoint.pk), {"overlap_hours": "24"}).content.decode()
    assert "UTC signieren zwei Geheimnisse" in page
