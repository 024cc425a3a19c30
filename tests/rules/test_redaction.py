"""What an answer looks like once it may be stored."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.rules import redaction
from live_push.rules.redaction import clean

KEY = "k-7Qx/9+secret"


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        pytest.param(b"", "", id="nothing"),
        pytest.param(b'{"ok": true}', '{"ok": true}', id="plain"),
        pytest.param("Grüße 👍".encode(), "Grüße 👍", id="other-letters"),
        pytest.param("Grüße 👍", "Grüße 👍", id="text-instead-of-bytes"),
        pytest.param(b"a\tb\nc", "a\tb\nc", id="tab-and-newline-stay"),
        pytest.param(b"a\r\nb", "a\nb", id="line-ends-become-newlines"),
        pytest.param(b"a\rb", "a\\x0db", id="a-lone-return-overwrites-a-line"),
        pytest.param(b"a\x00b", "a\\x00b", id="a-nul-breaks-the-row"),
        pytest.param(b"\x1b[2Jgone", "\\x1b[2Jgone", id="a-terminal-escape"),
        pytest.param(b"\x7f", "\\x7f", id="delete"),
        pytest.param("\x85", "\\x85", id="a-c1-control"),
        pytest.param("\u202egnp.exe", "\\u202egnp.exe", id="text-turned-around"),
        pytest.param("a\u2066b\u2069", "a\\u2066b\\u2069", id="isolated-text"),
        pytest.param("a\u2028b", "a\\u2028b", id="a-line-separator-forges-a-line"),
        pytest.param("\ufeffa", "\\ufeffa", id="a-byte-order-mark"),
        pytest.param("a\u200bb\xadc\u2060", "a\\u200bb\\xadc\\u2060", id="what-has-no-width"),
        pytest.param("\ud800", "\\ud800", id="a-lone-surrogate-breaks-the-row"),
        pytest.param(b"\xff\xfe", "��", id="bytes-that-are-no-text"),
        pytest.param("👩\u200d💻", "👩\u200d💻", id="a-joined-emoji-stays"),
    ],
)
def test_an_answer_becomes_readable_text(answer: bytes | str, stored: str) -> None:
    assert clean(answer, limit=100) == stored


@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(KEY, id="as-it-is"),
        pytest.param(quote(KEY, safe=""), id="percent-encoded"),
        pytest.param(b64encode(KEY.encode()).decode(), id="in-base64"),
        pytest.param(urlsafe_b64encode(KEY.encode()).decode(), id="in-urlsafe-base64"),
        pytest.param(b64encode(KEY.encode()).decode().rstrip("="), id="without-padding"),
    ],
)
def test_a_secret_that_is_echoed_is_blacked_out(echo: str) -> None:
    stored = clean(f"your key {echo} is wrong, {echo}!", limit=200, secrets=[KEY])
    assert stored.replace("=", "") == "your key [redacted] is wrong, [redacted]!"


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        ('pass"word\\', 'pass\\"word\\\\'),
        ("pässword", "p\\u00e4ssword"),
        ("pass word", "pass+word"),
        ("pass\nword", "pass\\nword"),
    ],
)
def test_a_secret_is_known_by_the_way_it_is_escaped(secret: str, echo: str) -> None:
    assert clean(f'"{echo}"', limit=100, secrets=[secret]) == '"[redacted]"'


def test_the_pair_of_basic_authentication_is_a_secret_too() -> None:
    pair = b64encode(b"jane:hunter22").decode()
    stored = clean(f"Authorization: Basic {pair} (hunter22)", limit=100, secrets=["jane:hunter22", "hunter22"])
    assert stored == "Authorization: Basic [redacted]== ([redacted])"


def test_the_longer_of_two_secrets_wins() -> None:
    assert clean("secret-and-more", limit=100, secrets=["secret", "secret-and-more"]) == "[redacted]"


@pytest.mark.parametrize("secret", ["", "a", "abc"])
def test_a_secret_too_short_to_tell_from_a_word_changes_nothing(secret: str) -> None:
    assert clean("abc banana", limit=100, secrets=[secret]) == "abc banana"


@pytest.mark.parametrize(
    ("answer", "limit", "stored"),
    [
        pytest.param("1234567890", 10, "1234567890", id="it-just-fits"),
        pytest.param("12345678901", 10, "1234 [cut]", id="one-too-many"),
        pytest.param("\x00" * 10, 40, "\\x00" * 10, id="it-just-fits-once-visible"),
        pytest.param("\x00" * 11, 40, ("\\x00" * 11)[:34] + " [cut]", id="it-no-longer-fits-once-visible"),
        pytest.param("abcdef", 3, " [c", id="a-limit-below-the-mark"),
        pytest.param("abcdef", 0, "", id="no-room"),
    ],
)
def test_a_cut_shows(answer: str, limit: int, stored: str) -> None:
    assert clean(answer, limit=limit) == stored


def test_a_secret_is_not_spared_because_the_cut_goes_through_it() -> None:
    assert "hunter" not in clean("12345 hunter22", limit=13, secrets=["hunter22"])


@given(
    st.one_of(st.text(), st.binary(), st.text(st.characters(categories=["Cc", "Cs", "Cf", "Zl", "Zp"]))),
    st.integers(0, 300),
    st.lists(st.text(), max_size=3),
)
def test_whatever_comes_back_fits_and_can_be_stored(answer: str | bytes, limit: int, secrets: list[str]) -> None:
    stored = clean(answer, limit=limit, secrets=secrets)
    assert len(stored) <= limit
    assert stored.encode().decode() == stored
    assert "\x00" not in stored
    assert "\x1b" not in stored


def test_a_flood_is_escaped_no_further_than_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    escaped: list[str] = []
    real = redaction._escape
    monkeypatch.setattr(redaction, "_escape", lambda match: escaped.append(match[0]) or real(match))
    assert clean("\x1b" * 60_000, limit=10) == "\\x1b [cut]"
    assert len(escaped) == 11
