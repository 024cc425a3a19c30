"""Signatures, judged by the reference implementation of Standard Webhooks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from live_push.contract.signature import secret_from, sign

SECRET = secret_from(bytes(range(32)))


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=24, max_size=64), st.text(min_size=1), st.integers(0, 2**32), st.text())
def test_a_signature_is_that_of_the_reference(key: bytes, event_id: str, timestamp: int, body: str) -> None:
    secret = secret_from(key)
    moment = datetime.fromtimestamp(timestamp, UTC)
    assert sign(secret, event_id, timestamp, body.encode()) == Webhook(secret).sign(event_id, moment, body)


def test_the_bytes_are_signed_as_they_are() -> None:
    assert sign(SECRET, "evt", 1, b"\xff\x00") != sign(SECRET, "evt", 1, b"\xff")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((secret_from(bytes(32)), "evt", 1, b"{}"), id="another secret"),
        pytest.param((SECRET, "evt2", 1, b"{}"), id="another event"),
        pytest.param((SECRET, "evt", 2, b"{}"), id="another second"),
        pytest.param((SECRET, "evt", 1, b"{} "), id="another body"),
    ],
)
def test_whatever_changes_changes_the_signature(other: tuple[str, str, int, bytes]) -> None:
    assert sign(*other) != sign(SECRET, "evt", 1, b"{}")


def test_a_fraction_of_a_second_is_refused_since_the_header_would_tell_another_time() -> None:
    with pytest.raises(ValueError, match="format code"):
        sign(SECRET, "evt", 1.5, b"{}")  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_secret_holds_24_to_64_bytes(length: int) -> None:
    secret = secret_from(bytes(length))
    assert sign(secret, "evt", 1, b"{}").startswith("v1,")
    assert base64.b64decode(secret.removeprefix("whsec_")) == bytes(length)


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"24 to 64 bytes; found {length}"):
        secret_from(bytes(length))
    with pytest.raises(ValueError, match=f"24 to 64 bytes; found {length}"):
        sign("whsec_" + base64.b64encode(bytes(length)).decode(), "evt", 1, b"{}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(SECRET.removeprefix("whsec_"), id="no prefix"),
        pytest.param("WHSEC_" + SECRET.removeprefix("whsec_"), id="the prefix in capitals"),
        pytest.param(SECRET + " ", id="a blank at the end"),
        pytest.param(SECRET + "\n", id="a line break at the end"),
        pytest.param("whsec_" + "hunter2!" * 8, id="no base64"),
        pytest.param("whsec_" + "ž" * 40, id="no ASCII"),
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="A signing secret") as caught:
        sign(text, "evt", 1, b"{}")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
