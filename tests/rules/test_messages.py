"""Messages: one text for logs, another language for pages, and code and values for the database."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

import live_push
from live_push import exceptions
from live_push.exceptions import EndpointUrlError
from live_push.models import Attempt, ClientEndpoint, Push
from live_push.models.message_column import MessageField
from live_push.rules.messages import TEMPLATES, Message, message_of, read
from live_push.rules.translation import translated, validation_error
from tests.factories import ClientEndpointFactory

HOUSE = Path(live_push.__file__).parent

PORT = Message("port_not_allowed", port=22, allowed="443, 8443")
ENGLISH = "The port is 22; allowed are: 443, 8443."
GERMAN = "Der Port ist 22; erlaubt sind: 443, 8443."
NESTED = Message("program_problem", name="'Gold'", problem=Message("ladder_empty"))


def test_a_message_is_an_english_text_wherever_a_text_is_used() -> None:
    assert PORT == ENGLISH
    assert f"{PORT}" == str(PORT) == ENGLISH
    assert json.dumps([PORT]) == json.dumps([ENGLISH])


def test_a_page_shows_it_in_the_language_of_its_reader() -> None:
    with translation.override("de"):
        assert translated(PORT) == GERMAN
        assert PORT == ENGLISH
    assert translated(PORT) == ENGLISH


def test_a_message_within_a_message_is_translated_too() -> None:
    assert NESTED == "Tier program 'Gold': A program needs at least one tier."
    with translation.override("de"):
        assert translated(NESTED) == "Stufenprogramm 'Gold': Ein Programm braucht mindestens eine Stufe."


@pytest.mark.parametrize("message", [PORT, NESTED, Message("url_scheme"), Message("tier_gone", tier="\ud800 Gold\0")])
def test_what_is_stored_is_read_as_the_same_message(message: Message) -> None:
    kept = read(message.stored())
    assert isinstance(kept, Message)
    assert (kept, kept.code, kept.params) == (message, message.code, message.params)
    assert message.stored().isascii()
    assert "\0" not in message.stored()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A sentence of a host's own transport: %(name)s {}",
        '{"code": "of a later version", "params": {}}',
        '{"code": "port_not_allowed", "params": {"port": 22}}',
        '{"code": "port_not_allowed", "params": [22]}',
        '{"code": ["port_not_allowed"], "params": {}}',
        '{"code": "url_scheme"',
        '{"code": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:60],
)
def test_a_text_that_is_not_a_message_stays_what_it_is(text: str) -> None:
    with translation.override("de"):
        assert translated(read(text)) == text


@pytest.mark.parametrize("remade", [copy.copy, copy.deepcopy, lambda message: pickle.loads(pickle.dumps(message))])  # noqa: S301
@pytest.mark.parametrize("message", [PORT, NESTED])
def test_a_copy_of_a_message_is_one(message: Message, remade: object) -> None:
    again = remade(message)  # type: ignore[operator]
    assert (type(again), again, again.code, again.params) == (Message, message, message.code, message.params)


def test_an_exception_carries_a_message_and_shows_its_text() -> None:
    error = EndpointUrlError(PORT)
    assert str(error) == ENGLISH
    assert message_of(error) is PORT
    assert message_of(EndpointUrlError("of a host's own")) == "of a host's own"
    assert message_of(EndpointUrlError()) == ""


@pytest.mark.parametrize(
    ("message", "german"),
    [
        (PORT, GERMAN),
        (NESTED, "Stufenprogramm 'Gold': Ein Programm braucht mindestens eine Stufe."),
        (Message("ladder_empty"), "Ein Programm braucht mindestens eine Stufe."),
        ("100 %(of)s a host's own", "100 %(of)s a host's own"),
    ],
)
def test_django_shows_a_validation_error_in_the_language_of_its_reader(message: str, german: str) -> None:
    error = ValidationError({"url": validation_error(message)})
    assert error.messages == [message]
    with translation.override("de"):
        assert error.messages == [german]


def test_a_validation_error_has_code_and_values() -> None:
    error = validation_error(PORT)
    assert (error.code, error.params) == ("port_not_allowed", {"port": 22, "allowed": "443, 8443"})


# Stored


@pytest.mark.django_db(transaction=True)
class TestColumns:
    def test_every_sentence_that_is_stored_stands_in_such_a_column(self) -> None:
        for model, name in ((Attempt, "detail"), (Push, "error"), (ClientEndpoint, "disabled_reason")):
            assert isinstance(model._meta.get_field(name), MessageField)

    @pytest.mark.parametrize("text", [PORT, "", "a host's own text"])
    def test_a_message_comes_back_from_the_database(self, text: str) -> None:
        endpoint = ClientEndpointFactory(disabled_reason=text)
        for kept in (
            ClientEndpoint.objects.get().disabled_reason,
            ClientEndpoint.objects.values_list("disabled_reason", flat=True).get(),
        ):
            assert (type(kept), kept) == (type(text), text)
        endpoint.full_clean()
        assert type(endpoint.disabled_reason) is type(text)

    def test_it_is_found_by_its_code(self) -> None:
        ClientEndpointFactory()
        ClientEndpoint.objects.update(disabled_reason=PORT)
        assert ClientEndpoint.objects.filter(disabled_reason__contains='"port_not_allowed"').exists()

    def test_a_fixture_carries_it(self) -> None:
        field = ClientEndpoint._meta.get_field("disabled_reason")
        carried = field.value_to_string(ClientEndpoint(disabled_reason=PORT))
        assert carried == PORT.stored()
        assert type(field.to_python(carried)) is Message

    def test_a_text_of_a_hosts_own_may_be_too_long(self) -> None:
        ClientEndpointFactory(disabled_reason="x" * 10_000)
        assert ClientEndpoint.objects.get().disabled_reason == "x" * 500


# The templates

PLACES = re.compile(r"%\((\w+)\)s")


def made() -> Iterator[tuple[str, str, set[str]]]:
    """Every message that a module makes: where, its code, the names of its values."""
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Message":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    yield f"{path.name}:{node.lineno}", code.value, {str(word.arg) for word in node.keywords}


def test_every_message_names_a_code_and_gives_the_values_of_its_template() -> None:
    for where, code, names in made():
        assert code in TEMPLATES, where
        assert names == set(PLACES.findall(TEMPLATES[code])), where


def test_every_error_carries_a_message() -> None:
    """Except the misuse of a secret column, which only a developer meets."""
    ours = {"NoAnswer", *(name for name, kind in vars(exceptions).items() if isinstance(kind, type))}
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ours - {"SecretMisuse"}:
                texts = [text for text in node.args if isinstance(text, ast.Constant | ast.JoinedStr)]
                assert not texts, f"{path.name}:{node.lineno} should raise a Message, which can be translated."


def test_every_template_is_used() -> None:
    spelled = {
        node.value
        for path in HOUSE.rglob("*.py")
        if path.name != "messages.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(TEMPLATES) <= spelled


def test_every_template_names_its_values_and_no_two_are_alike() -> None:
    assert len(set(TEMPLATES.values())) == len(TEMPLATES)
    for code, template in TEMPLATES.items():
        assert re.fullmatch(r"[a-z0-9_]+", code)
        names = PLACES.findall(template)
        assert template % dict.fromkeys(names, "")
        # Django formats an error without values not at all.
        assert names or "%" not in template, code
