"""The headers of a request."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

import live_push
from live_push.contract.headers import Auth, build_headers, check_api_key, check_basic, check_extra_headers
from live_push.contract.signature import secret_from, sign

OLD, NEW = secret_from(bytes(24)), secret_from(bytes(range(64)))

BARE = {
    "Content-Type": "application/json",
    "User-Agent": f"live-push/{live_push.__version__}",
    "webhook-id": "evt-1",
    "webhook-timestamp": "1777982400",
    "live-push-sequence": "42",
    "live-push-attempt": "3",
}


def request(**changes: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "event_id": "evt-1",
        "sequence": 42,
        "attempt_number": 3,
        "timestamp": 1777982400,
        "body": b'{"id":6566}',
        "auth": Auth.none(),
        "signing_secrets": [],
        "extra_headers": {},
    }
    return build_headers(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        pytest.param({}, {}, id="no login, no secret"),
        pytest.param({"auth": Auth.api_key("GRscv!~53")}, {"x-api-key": "GRscv!~53"}, id="an API key"),
        pytest.param(
            {"auth": Auth.basic("test", "password123")}, {"Authorization": "Basic dGVzdDpwYXNzd29yZDEyMw=="}, id="Basic"
        ),
        pytest.param(
            # The example of RFC 7617, section 2.1: user name "test", password "123£".
            {"auth": Auth.basic("test", "123£")},
            {"Authorization": "Basic dGVzdDoxMjPCow=="},
            id="Basic beyond Latin-1 goes as UTF-8",
        ),
        pytest.param(
            {"auth": Auth.basic("", "a:b")}, {"Authorization": "Basic OmE6Yg=="}, id="a colon in the password"
        ),
        pytest.param(
            {"extra_headers": {"X-Tenant": "blue"}}, {"X-Tenant": "blue"}, id="a header of the endpoint's own"
        ),
        pytest.param({"test": True}, {"live-push-test": "1"}, id="a test push"),
        pytest.param({"attempt_number": 40}, {"live-push-attempt": "40"}, id="a late attempt"),
    ],
)
def test_a_request_carries_exactly_the_agreed_headers(changes: dict[str, Any], difference: dict[str, str]) -> None:
    assert request(**changes) == {**BARE, **difference}


def test_a_push_without_a_sequence_carries_none() -> None:
    assert "live-push-sequence" not in request(sequence=None, test=True)


def test_each_live_secret_signs_the_exact_body() -> None:
    found = request(signing_secrets=[NEW, OLD])["webhook-signature"]
    expected = [sign(secret, "evt-1", 1777982400, b'{"id":6566}') for secret in (NEW, OLD)]
    assert found.split(" ") == expected
    assert len(set(expected)) == 2


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["the old secret", "the new secret"])
def test_a_client_verifies_with_either_secret_while_both_live(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The reference compares with the wall clock; only that comparison is taken out.
    monkeypatch.setattr(
        Webhook, "_Webhook__verify_timestamp", lambda self, header: datetime.fromtimestamp(int(header), UTC)
    )
    Webhook(secret).verify(b'{"id":6566}', request(signing_secrets=[NEW, OLD]))


def test_a_timestamp_with_a_fraction_is_refused() -> None:
    with pytest.raises(ValueError, match="format code"):
        request(timestamp=1777982400.5)


def test_no_credential_shows_in_the_repr_of_a_login() -> None:
    for auth in (Auth.basic("jane", "hunter2"), Auth.api_key("hunter2")):
        shown = f"{auth!r} {auth}"
        assert "hunter2" not in shown
        assert "jane" not in shown
        assert auth.credential not in shown


@pytest.mark.parametrize(
    "build_auth", [lambda: Auth.basic("a:b", "x"), lambda: Auth.api_key("")], ids=["basic", "api key"]
)
def test_a_login_that_cannot_be_sent_cannot_be_built(build_auth: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        build_auth()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("!", id="the first printable character"),
        pytest.param("~", id="the last one"),
        pytest.param("k" * 1024, id="1024 characters"),
        pytest.param("".join(chr(code) for code in range(0x21, 0x7F)), id="all printable ASCII"),
    ],
)
def test_an_api_key_of_printable_ascii_is_fine(key: str) -> None:
    check_api_key(key)
    assert request(auth=Auth.api_key(key))["x-api-key"] == key


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("k" * 1025, id="1025 characters"),
        pytest.param("a b", id="a blank"),
        pytest.param("a\tb", id="a tab"),
        pytest.param("hunter2\n", id="a line break at the end"),
        pytest.param("hunter2\r\nHost: elsewhere", id="a header smuggled in"),
        pytest.param("a\x00b", id="NUL"),
        pytest.param("a\x7fb", id="DEL"),
        pytest.param("a\x85b", id="NEL"),
        pytest.param("clé", id="a letter beyond ASCII"),
        pytest.param(None, id="null is not the text None"),
        pytest.param(b"key", id="bytes"),
    ],
)
def test_another_api_key_is_refused_without_showing_it(key: Any) -> None:
    with pytest.raises(ValueError, match="An API key must be") as caught:
        check_api_key(key)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        pytest.param("", "", id="both empty"),
        pytest.param("token", "", id="no password"),
        pytest.param("üser", "パス🔑", id="any script"),
        pytest.param("a b", " x : y ", id="blanks, and colons in the password"),
        pytest.param("None", "None", id="the text None"),
    ],
)
def test_odd_but_legal_basic_credentials_are_sent_as_they_are(username: str, password: str) -> None:
    check_basic(username, password)
    value = request(auth=Auth.basic(username, password))["Authorization"]
    assert base64.b64decode(value.removeprefix("Basic ")).decode() == f"{username}:{password}"


@pytest.mark.parametrize(
    ("username", "password", "sentence"),
    [
        pytest.param("a:b", "x", "The user name must not hold a colon", id="a colon in the user name"),
        pytest.param("a\n", "x", "The user name must not hold control", id="a line break in the user name"),
        pytest.param("a", "x\x00", "The password must not hold control", id="NUL in the password"),
        pytest.param("a", "x\x7f", "The password must not hold control", id="DEL in the password"),
        pytest.param("a", "x\x9f", "The password must not hold control", id="an upper control character"),
        pytest.param("a", "x\ud800", "The password must not hold control", id="half a character"),
        pytest.param(None, "x", "The user name must be text; found NoneType", id="no user name"),
        pytest.param("a", None, "The password must be text; found NoneType", id="no password"),
        pytest.param("a", b"x", "The password must be text; found bytes", id="bytes"),
    ],
)
def test_basic_credentials_that_cannot_be_sent_are_refused(username: Any, password: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_basic(username, password)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"X-Tenant": "blue", "Accept": "application/json"}, id="ordinary ones"),
        pytest.param({"x!#$%&'*+-.^_`|~9": ""}, id="every character of a token, an empty value"),
        pytest.param({"X-" + "a" * 98: "v" * 1024}, id="as long as it may be"),
        pytest.param({"X-City": "Düsseldorf \xa0\xff"}, id="Latin-1"),
        pytest.param({"webhooks": "x", "x-webhook-id": "x", "livepush": "x"}, id="names that only resemble ours"),
    ],
)
def test_extra_headers_are_allowed_by_default(headers: dict[str, str]) -> None:
    check_extra_headers(headers)
    assert request(extra_headers=headers) == {**headers, **BARE}


OURS = [
    "Authorization",
    "x-api-key",
    "User-Agent",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Host",
    "Accept-Encoding",
    "Cookie",
    "Expect",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "webhook-anything",
    "live-push-sequence",
    "live-push-attempt",
    "live-push-test",
    "live-push-anything",
]
HOP_BY_HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]


@pytest.mark.parametrize("name", [*OURS, *(name.upper() for name in OURS), *(name.lower() for name in OURS)])
def test_a_name_of_ours_is_refused_in_any_case(name: str) -> None:
    with pytest.raises(ValueError, match="reserved for live_push"):
        request(extra_headers={name: "x"})


@pytest.mark.parametrize("name", [*HOP_BY_HOP, *(name.lower() for name in HOP_BY_HOP)])
def test_a_name_that_ends_at_the_next_hop_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hop-by-hop"):
        request(extra_headers={name: "x"})


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        pytest.param([("X", "y")], "must be an object", id="a list"),
        pytest.param(None, "must be an object", id="nothing"),
        pytest.param({"": "x"}, "is not a header name", id="an empty name"),
        pytest.param({"X Y": "x"}, "is not a header name", id="a blank in a name"),
        pytest.param({"X:": "x"}, "is not a header name", id="a colon in a name"),
        pytest.param({"X\n": "x"}, "is not a header name", id="a line break after a name"),
        pytest.param({"Ž": "x"}, "is not a header name", id="a letter beyond ASCII in a name"),
        pytest.param({"X" * 101: "x"}, "is not a header name", id="a name of 101 characters"),
        pytest.param({5: "x"}, "is not a header name", id="a number for a name"),
        pytest.param({"X-A": "1", "x-a": "2"}, "occurs twice", id="the same name in two cases"),
        pytest.param({"x-a": "1", "X-A": "2"}, "occurs twice", id="the same name, capitals last"),
        pytest.param({"X-A": "a\r\nHost: b"}, "printable", id="a header smuggled in"),
        pytest.param({"X-A": "a\n"}, "printable", id="a line break after a value"),
        pytest.param({"X-A": "a\tb"}, "printable", id="a tab"),
        pytest.param({"X-A": "a\x00"}, "printable", id="NUL"),
        pytest.param({"X-A": "a\x7f"}, "printable", id="DEL"),
        pytest.param({"X-A": "a\x85b"}, "printable", id="NEL"),
        pytest.param({"X-A": "Ž"}, "printable", id="beyond Latin-1"),
        pytest.param({"X-A": "v" * 1025}, "printable", id="a value of 1025 characters"),
        pytest.param({"X-A": " a"}, "blank", id="a blank before a value"),
        pytest.param({"X-A": "a "}, "blank", id="a blank after a value"),
        pytest.param({"X-A": None}, "must be text", id="null for a value"),
        pytest.param({"X-A": 5}, "must be text", id="a number for a value"),
    ],
)
def test_an_extra_header_that_would_harm_the_request_is_refused(headers: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_extra_headers(headers)


def test_the_value_of_a_refused_header_stays_out_of_the_sentence() -> None:
    with pytest.raises(ValueError, match="X-Token") as caught:
        check_extra_headers({"X-Token": "hunter2\n"})
    assert "hunter2" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3))
def test_whatever_is_allowed_can_be_written_into_one_line_each(headers: dict[str, str]) -> None:
    try:
        check_extra_headers(headers)
    except ValueError:
        return
    for name, value in headers.items():
        line = f"{name}: {value}".encode("latin-1")
        assert line.splitlines() == [line]
