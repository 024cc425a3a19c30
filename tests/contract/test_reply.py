"""What an answer says about the client's own id of the member."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_push.contract.reply import Reason, Reply, read_third_party_id


def read(body: bytes) -> Reply:
    return read_third_party_id(body, complete=True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"third_party_id": "123456789"}', "123456789", id="text"),
        pytest.param(b'{"third_party_id": 123456789}', "123456789", id="a whole number becomes text"),
        pytest.param(b'{"third_party_id": 0}', "0", id="zero"),
        pytest.param(b'{"third_party_id": -0}', "0", id="minus zero"),
        pytest.param(b'{"third_party_id": -17}', "-17", id="a negative number"),
        pytest.param(b'{"third_party_id": ' + b"9" * 100 + b"}", "9" * 100, id="a number of a hundred digits"),
        pytest.param(b'{"third_party_id": " 42\\n"}', "42", id="trimmed"),
        pytest.param(b'{"third_party_id": "a b"}', "a b", id="a blank inside"),
        pytest.param('{"third_party_id": "Ž🚀"}'.encode(), "Ž🚀", id="any script"),
        pytest.param(b'{"third_party_id": "\\ud83d\\ude80"}', "🚀", id="a character told in two halves"),
        pytest.param(b'{"third_party_id": "None"}', "None", id="the text None"),
        pytest.param(b'{"third_party_id": "' + b"x" * 100 + b'"}', "x" * 100, id="a hundred characters"),
        pytest.param(b'{"third_party_id": " ' + b"x" * 100 + b' "}', "x" * 100, id="a hundred once trimmed"),
        pytest.param(b'{"ok": true, "third_party_id": "1", "n": [1.5]}', "1", id="other members do not matter"),
        pytest.param(b'{"a": 1, "a": 2, "third_party_id": "1"}', "1", id="another member twice"),
        pytest.param(b'{"n": ' + b"9" * 9000 + b', "third_party_id": "1"}', "1", id="a giant number beside it"),
        pytest.param(b'{"n": 1e999, "third_party_id": "1"}', "1", id="a number beyond floats beside it"),
        pytest.param(b'{"x": {"third_party_id": "2"}, "third_party_id": "1"}', "1", id="another one further down"),
        pytest.param(b'\xef\xbb\xbf{"third_party_id": "1"}', "1", id="a byte order mark"),
        pytest.param(b' \r\n{"third_party_id": "1"} \n', "1", id="whitespace around"),
        pytest.param(b'{"third\\u005fparty_id": "1"}', "1", id="the key with an escape"),
    ],
)
def test_an_id_is_read(body: bytes, expected: str) -> None:
    assert read(body) == Reply(expected, Reason.FOUND)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "id_not_json", id="nothing"),
        pytest.param(b"OK", "id_not_json", id="plain text"),
        pytest.param(b"<html></html>", "id_not_json", id="a page"),
        pytest.param(b'{"third_party_id": "1"', "id_not_json", id="an object that does not end"),
        pytest.param(b'{"third_party_id": "1"}}', "id_not_json", id="more than an object"),
        pytest.param(b"{'third_party_id': '1'}", "id_not_json", id="the wrong quotes"),
        pytest.param(b'{"third_party_id": NaN}', "id_not_json", id="NaN"),
        pytest.param(b'{"third_party_id": "1", "x": Infinity}', "id_not_json", id="infinity beside it"),
        pytest.param(b'{"third_party_id": 007}', "id_not_json", id="leading zeros"),
        pytest.param(b'{"third_party_id": "a\nb"}', "id_not_json", id="a raw line break"),
        pytest.param(b'{"third_party_id": "\xff"}', "id_not_json", id="no UTF-8"),
        pytest.param('{"third_party_id": "1"}'.encode("utf-16"), "id_not_json", id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf\xef\xbb\xbf{"third_party_id": "1"}', "id_not_json", id="two byte order marks"),
        pytest.param(b"[" * 60_000, "id_not_json", id="very deep"),
        pytest.param(
            b'{"third_party_id":"1","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "id_not_json", id="deep beside it"
        ),
        pytest.param(b'["third_party_id"]', "id_not_an_object", id="a list"),
        pytest.param(b'[["third_party_id", "1"]]', "id_not_an_object", id="a list of pairs"),
        pytest.param(b'"third_party_id"', "id_not_an_object", id="text"),
        pytest.param(b"123456789", "id_not_an_object", id="a number"),
        pytest.param(b"null", "id_not_an_object", id="null"),
        pytest.param(b"{}", "id_missing", id="an empty object"),
        pytest.param(b'{"thirdPartyId": "1"}', "id_missing", id="another spelling"),
        pytest.param(b'{"Third_Party_Id": "1"}', "id_missing", id="another case"),
        pytest.param(b'{"data": {"third_party_id": "1"}}', "id_missing", id="further down only"),
        pytest.param(b'{"third_party_id": "1", "third_party_id": "2"}', "id_duplicated", id="twice"),
        pytest.param(b'{"third_party_id": "1", "third_party_id": "1"}', "id_duplicated", id="twice the same"),
        pytest.param(
            b'{"third_party_id": "1", "third\\u005fparty_id": "2"}', "id_duplicated", id="twice, once escaped"
        ),
        pytest.param(b'{"third_party_id": null}', "id_wrong_type", id="null"),
        pytest.param(b'{"third_party_id": true}', "id_wrong_type", id="a boolean"),
        pytest.param(b'{"third_party_id": 1.0}', "id_wrong_type", id="a float"),
        pytest.param(b'{"third_party_id": 1e3}', "id_wrong_type", id="an exponent"),
        pytest.param(b'{"third_party_id": ["1"]}', "id_wrong_type", id="a list inside"),
        pytest.param(b'{"third_party_id": {}}', "id_wrong_type", id="an object inside"),
        pytest.param(b'{"third_party_id": {"a": 1}}', "id_wrong_type", id="a full object inside"),
        pytest.param(b'{"third_party_id": ""}', "id_empty", id="empty"),
        pytest.param(b'{"third_party_id": " \\n\\t"}', "id_empty", id="blanks only"),
        pytest.param(b'{"third_party_id": "' + b"x" * 101 + b'"}', "id_too_long", id="101 characters"),
        pytest.param(b'{"third_party_id": ' + b"9" * 101 + b"}", "id_too_long", id="101 digits"),
        pytest.param(b'{"third_party_id": ' + b"9" * 9000 + b"}", "id_too_long", id="thousands of digits"),
        pytest.param(b'{"third_party_id": "a\\u0000b"}', "id_unprintable", id="NUL"),
        pytest.param(b'{"third_party_id": "a\\nb"}', "id_unprintable", id="a line break inside"),
        pytest.param(b'{"third_party_id": "a\\u007f"}', "id_unprintable", id="DEL"),
        pytest.param(b'{"third_party_id": "a\\u0085b"}', "id_unprintable", id="NEL"),
        pytest.param(b'{"third_party_id": "a\\ud800"}', "id_unprintable", id="half a character"),
        pytest.param(b'{"third_party_id": "1\\u202e2"}', "id_unprintable", id="text turned around"),
        pytest.param(b'{"third_party_id": "1\\u20282"}', "id_unprintable", id="a line separator"),
        pytest.param(b'{"third_party_id": "1\\u200b"}', "id_unprintable", id="a space without width"),
        pytest.param(b'{"third_party_id": "1\\u20602"}', "id_unprintable", id="a joiner of words"),
    ],
)
def test_anything_else_is_no_id(body: bytes, reason: str) -> None:
    reply = read(body)
    assert (reply.third_party_id, reply.reason) == (None, reason)


@pytest.mark.parametrize(
    ("body", "complete"),
    [
        pytest.param(b'{"third_party_id": "1"}', False, id="the connection was lost"),
        pytest.param(b"", False, id="nothing came"),
        pytest.param(b'{"third_party_id": "1"}'.ljust(64 * 1024 + 1), True, id="one byte above 64 KiB"),
    ],
)
def test_an_answer_that_was_cut_is_not_read_at_all(body: bytes, complete: bool) -> None:
    assert read_third_party_id(body, complete=complete) == Reply(None, Reason.CUT)


def test_an_answer_of_64_kib_is_read() -> None:
    assert read(b'{"third_party_id": "1"}'.ljust(64 * 1024)).third_party_id == "1"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    sentence = Reply(None, reason).sentence
    assert sentence.endswith(".")
    assert "third_party_id" in sentence


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("third_party_id"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()), st.booleans())
def test_whatever_arrives_there_is_an_id_that_can_be_stored_or_a_reason(body: bytes, complete: bool) -> None:
    reply = read_third_party_id(body, complete=complete)
    assert (reply.third_party_id is None) == (reply.reason != "id_found")
    if reply.third_party_id is not None:
        assert complete
        assert 1 <= len(reply.third_party_id) <= 100
        assert reply.third_party_id == reply.third_party_id.strip()
        assert not {unicodedata.category(character) for character in reply.third_party_id} & {"Cc", "Cs"}


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text(), _JSON, max_size=4),
    st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=100),
)
def test_an_id_is_found_among_any_other_members(others: dict[str, Any], third_party_id: str) -> None:
    answer = json.dumps({**others, "third_party_id": third_party_id}, allow_nan=True).encode()
    if b"NaN" not in answer and b"Infinity" not in answer:
        assert read(answer).third_party_id == third_party_id
