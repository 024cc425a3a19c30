"""What is refused or was written into the log in English is said in the reader's language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

import live_push
from live_push.admin.catching_up import RESENT_MANY, RESENT_ONE
from live_push.admin.delivery_actions import DEEDS
from live_push.admin.sentences import SHAPES, translated
from live_push.contract.reply import Reason, Reply
from live_push.delivery.result import Result
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, deliver, status

from .forms import submit
from .pages import url

HOUSE = Path(live_push.__file__).parent
GERMAN = {"accept-language": "de"}
SPEAKERS = [
    "endpoint_url",
    "contract/headers",
    "contract/options",
    "contract/values",
    "delivery/address_guard",
    "delivery/no_answer",
    "delivery/tls",
    "encryption",
    "fields",
    "models/endpoints",
    "models/tiers",
    "tiers/timeframes",
]
"""Modules all of whose refusals an operator can meet; of others the shapes name some."""

REFUSALS = ("EndpointUrlError", "PayloadError", "NoAnswer", "SecretUnreadable", "TierError", "ValueError")
FOR_DEVELOPERS = ("% must be text; found %.", "Endpoints can't be created over existing ones: get() those")


@pytest.fixture(autouse=True)
def _language_stays_here() -> Iterator[None]:
    with translation.override(translation.get_language()):
        yield


def raised(module: str) -> Iterator[str]:
    """The sentences of a module's refusals, each value replaced by a %."""
    for node in ast.walk(ast.parse((HOUSE / f"{module}.py").read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in REFUSALS:
            yield from ("".join(_parts(text)) for text in node.args if isinstance(text, ast.Constant | ast.JoinedStr))


def _parts(text: ast.expr) -> Iterator[str]:
    for part in text.values if isinstance(text, ast.JoinedStr) else [text]:
        yield str(part.value) if isinstance(part, ast.Constant) else "%"


@pytest.mark.parametrize("module", SPEAKERS)
def test_every_refusal_that_an_operator_can_meet_has_its_shape(module: str) -> None:
    known = {re.sub(r"%\(\w+\)s", "%", shape).replace("%%", "%") for shape in SHAPES}
    found = {sentence for sentence in raised(module) if not sentence.startswith(FOR_DEVELOPERS)}
    # One says twice the same but for who is meant.
    assert found - known <= {"% must not hold control characters or half a character."}


def test_whatever_is_kept_of_a_deed_has_its_shape() -> None:
    texts = {
        text.value
        for module in (HOUSE / "admin").glob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "note"
        for text in ast.walk(node.args[2])
        if isinstance(text, ast.Constant) and text.value
    }
    kept = {RESENT_ONE, RESENT_MANY, *(str(deed.label) for deed in DEEDS.values()), *texts}
    assert "Paused." in texts
    assert kept <= set(SHAPES)


def test_why_an_answer_gave_no_id_has_its_shape() -> None:
    with translation.override("de"):
        for reason in set(Reason) - {Reason.FOUND}:
            assert translated(Reply(None, reason).sentence) != Reply(None, reason).sentence, reason


@pytest.mark.parametrize(
    ("english", "german"),
    [
        (
            "The header X-Source ends at the next hop and never reaches the client; leave it out.",
            "Der Header X-Source endet an der nächsten Station und erreicht die Gegenstelle nie; lassen Sie ihn weg.",
        ),
        (
            "'a%b' is no header name: letters, digits and !#$%&'*+-.^_`|~, at most 100.",
            "'a%b' ist kein Header-Name: Buchstaben, Ziffern und !#$%&'*+-.^_`|~, höchstens 100.",
        ),
        ("Of a shape that nobody knows: %(name)s", "Of a shape that nobody knows: %(name)s"),
    ],
)
def test_values_stay_what_they_are(english: str, german: str) -> None:
    with translation.override("de"):
        assert translated(english) == german
    assert translated(english) == english


@pytest.mark.django_db(transaction=True)
class TestPages:
    def test_a_form_refuses_in_the_readers_language(self, boss: Client) -> None:
        form, address = "clientendpoint_form", url("clientendpoint_change", ClientEndpointFactory().pk)
        boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
        changes: dict[str, Any] = {"url": "https://10.0.0.1/", "extra_headers": '{"Authorization": "x"}'}
        page = submit(boss, address, form, **changes).content.decode()
        assert "Der Host ist keine öffentliche Adresse" in page
        assert "Den Header Authorization setzt allein live_push" in page

    def test_a_ladder_is_refused_in_the_readers_language(self, boss: Client) -> None:
        program = TierProgramFactory()
        boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
        address = url("tierprogram_change", program.pk)
        page = submit(boss, address, "tierprogram_form", **{"tiers-1-max_value": "2000", "time_zone": "Vienna"})
        assert "Es gibt keine Zeitzone" in page.content.decode()
        page = submit(boss, address, "tierprogram_form", **{"tiers-1-max_value": "2000"})
        assert "ist eine Lücke" in page.content.decode()

    def test_what_one_did_is_told_in_the_language_of_who_reads_it(self, boss: Client, answers: Any) -> None:
        from live_push.models import ClientEndpoint, Delivery

        endpoint = ClientEndpointFactory(name="acme")
        UserProfileFactory()
        deliver(status(413))
        answers(OK)
        delivery = Delivery.objects.get()
        boss.post(url("clientendpoint_test", endpoint.pk), headers=GERMAN)
        boss.post(url("delivery_deed", delivery.pk), {"deed": "redeliver"}, headers=GERMAN)
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

    def test_the_log_is_told_in_the_readers_language(self, boss: Client) -> None:
        from live_push.models import Delivery

        ClientEndpointFactory()
        UserProfileFactory()
        deliver(Result(error_code="dns_failed", detail="The host name does not exist."))
        UserProfileFactory(custom_data={"nested": {"too": "deep"}})
        pages = [
            boss.get(url("delivery_change", delivery.pk), headers=GERMAN).content.decode()
            for delivery in Delivery.objects.order_by("pk")
        ]
        assert "Den Hostnamen gibt es nicht." in pages[0]
        assert "customData darf nur Texte, Zahlen, Wahrheitswerte und null enthalten" in pages[1]
