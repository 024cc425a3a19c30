"""What a client sends back: our secrets are blacked out in whatever form they come, and what is kept is bounded."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.contract import headers
from live_push.contract.headers import Auth
from live_push.delivery.request import Request
from live_push.delivery.send import secrets_of
from live_push.models import Attempt
from live_push.rules.redaction import clean, clean_bytes
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver, status

KEY = "k3y/with+odd&<letters>='x\"`"

Echo = Callable[[str], str]


def lower_percents(text: str) -> str:
    return re.sub("%..", lambda found: found[0].lower(), text)


def in_json(text: str, letters: str, digits: str) -> str:
    return "".join(f"\\u{ord(one):{digits}}" if one in letters else one for one in json.dumps(text))


ECHOES = [
    pytest.param(str, id="as-it-is"),
    pytest.param(html.escape, id="in-html"),
    pytest.param(json.dumps, id="in-json"),
    pytest.param(lambda key: json.dumps(key).replace("/", "\\/"), id="in-json-as-php-writes-it"),
    pytest.param(lambda key: in_json(key, "<>&", "04x"), id="in-json-as-go-and-rails-write-it"),
    pytest.param(lambda key: in_json(key, "<>&'+`", "04X").replace('\\"', "\\u0022"), id="in-json-as-dotnet-writes-it"),
    pytest.param(lambda key: html.escape(key).replace("&#x27;", "&#039;"), id="in-html-as-php-writes-it"),
    pytest.param(
        lambda key: html.escape(key).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), id="in-html-as-go-writes-it"
    ),
    pytest.param(lambda key: quote(key, safe=""), id="percent-encoded"),
    pytest.param(lambda key: lower_percents(quote(key, safe="")), id="percent-encoded-in-small-letters"),
    pytest.param(quote_plus, id="as-in-a-form"),
    pytest.param(lambda key: key.encode().hex(), id="in-hexadecimal"),
    pytest.param(lambda key: key.encode().hex().upper(), id="in-hexadecimal-in-capitals"),
    pytest.param(lambda key: b64encode(key.encode()).decode(), id="in-base64"),
    pytest.param(lambda key: urlsafe_b64encode(key.encode()).decode().rstrip("="), id="in-urlsafe-base64"),
    pytest.param(lambda key: b64encode(f"x-api-key: {key}".encode()).decode(), id="in-the-base64-of-a-header"),
    pytest.param(lambda key: b64encode(f"key: {key};".encode()).decode(), id="in-base64-one-further"),
    pytest.param(lambda key: b64encode(f"a key: {key}".encode()).decode(), id="in-base64-two-further"),
]


@pytest.mark.django_db(transaction=True)
class TestAnEcho:
    @pytest.mark.parametrize("echo", ECHOES)
    def test_of_a_key_is_not_kept(self, echo: Echo) -> None:
        ClientEndpointFactory(auth_method="api_key", api_key=KEY)
        assert self.kept(f"your key {echo(KEY)} is wrong") == "your key [redacted] is wrong"

    @pytest.mark.parametrize("echo", ECHOES)
    def test_of_a_password_is_not_kept(self, echo: Echo) -> None:
        ClientEndpointFactory(auth_method="basic", username="test", password=KEY)
        assert self.kept(f"your password {echo(KEY)} is wrong") == "your password [redacted] is wrong"

    def test_of_the_whole_basic_credential_is_not_kept(self) -> None:
        ClientEndpointFactory(basic=True)
        credential = str(Auth.basic("test", "password123").credential)
        assert self.kept(f"not {credential}").startswith("not Basic [redacted]")

    @pytest.mark.parametrize(
        ("query", "echo"),
        [
            pytest.param("v=2&token=T0PSECRET==", "T0PSECRET==", id="as-it-is"),
            pytest.param("token=T0P%2FSECRET", "T0P%2FSECRET", id="percent-encoded"),
            pytest.param("token=T0P%2FSECRET", "T0P/SECRET", id="decoded"),
            pytest.param("token=T0P+SECRET", "T0P SECRET", id="a-blank"),
            pytest.param("a=1;T0PSECRET", "T0PSECRET", id="without-a-name"),
        ],
    )
    def test_of_a_token_in_the_url_is_not_kept(self, query: str, echo: str) -> None:
        ClientEndpointFactory(url=f"https://example.com/push?{query}")
        assert self.kept(f"there is no /push for {echo} here") == "there is no /push for [redacted] here"

    def test_of_an_ordinary_word_in_the_url_is_kept(self) -> None:
        ClientEndpointFactory(url="https://example.com/push?source=loyalty&v=2")
        assert self.kept("no source loyalty in version 2") == "no source loyalty in version 2"

    def kept(self, answer: str) -> str:
        UserProfileFactory()
        deliver(status(403, answer.encode()))
        stored = Attempt.objects.get().answer
        assert stored is not None
        # Of base64 some letters at either end are made of the neighbours' bits too; nobody can read the key off them.
        return re.sub(r"\S{0,20}(\[redacted\])\S{0,4}", r"\1", stored.decode())


@given(st.text(min_size=4), st.text(), st.text())
def test_any_secret_is_found_within_any_base64(secret: str, before: str, after: str) -> None:
    echo = b64encode(f"{before}{secret}{after}".encode("utf-8", "surrogatepass")).decode()
    assert "[redacted]" in clean(echo, limit=10**6, secrets=[secret])


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=4))
def test_the_credentials_of_any_request_are_known_from_its_headers(password: str) -> None:
    credential = Auth.basic("user", password).credential
    assert headers.credentials_in({"Authorization": credential}) == (f"user:{password}", password)


def test_a_request_without_credentials_has_nothing_to_hide() -> None:
    assert headers.credentials_in({"webhook-signature": "v1,abc", "Content-Type": "application/json"}) == ()


def test_credentials_do_not_show_while_they_are_compared() -> None:
    assert repr(secrets_of(Request("https://example.com/?t=T0PSECRET", {"x-api-key": KEY}, b""))) == "(***, ***)"
    assert repr(headers.credentials_in({"x-api-key": KEY})) == "(***,)"
    assert repr(headers.credentials_in({"Authorization": "Basic dGVzdDpwYXNz"})) == "(***, ***)"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("letter", ["x", "ü", "👍"], ids=["one-byte", "two-bytes", "four-bytes"])
def test_of_a_long_answer_eight_kibibytes_are_kept_and_the_cut_shows(letter: str) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    deliver(status(200, (letter * 65_536).encode()[:65_536]))
    stored = Attempt.objects.get().answer
    assert stored is not None
    assert 8192 - 3 <= len(stored) <= 8192
    assert stored.decode() == letter * stored.decode().count(letter) + " [cut]"


@given(st.binary(), st.integers(0, 60))
def test_whatever_comes_back_is_kept_within_the_limit_as_text(answer: bytes, limit: int) -> None:
    stored = clean_bytes(answer, limit=limit)
    assert len(stored) <= limit
    assert stored.decode().encode() == stored
