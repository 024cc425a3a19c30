"""The record of one attempt and the words for what went wrong."""

from __future__ import annotations

import pytest

from live_push.delivery.result import ErrorCode, Result, explain


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_says_what_it_means_and_who_must_act(code: ErrorCode) -> None:
    assert code.meaning.endswith(".")
    assert any(actor in code.remedy for actor in ("client", "operator", "Nobody"))
    assert explain(code) == f"{code.meaning} {code.remedy}"


def test_no_two_codes_share_a_meaning() -> None:
    assert len({code.meaning for code in ErrorCode}) == len(ErrorCode)


def test_codes_fit_their_column_and_a_search_box() -> None:
    assert all(code.value.replace("_", "").isalpha() and code.value.islower() for code in ErrorCode)
    assert max(map(len, ErrorCode)) <= 32


def test_a_code_of_another_transport_is_explained_by_itself() -> None:
    assert explain("carrier_pigeon_lost") == "carrier_pigeon_lost"


def test_no_code_needs_no_explanation() -> None:
    assert explain("") == ""


def test_a_result_without_status_and_without_error_is_refused() -> None:
    with pytest.raises(ValueError, match="either a status code or an error code"):
        Result()


def test_a_result_with_both_status_and_error_is_refused() -> None:
    with pytest.raises(ValueError, match="either a status code or an error code"):
        Result(200, ErrorCode.TIMEOUT)


def test_the_answer_does_not_show_up_in_a_traceback() -> None:
    assert "jane@" not in repr(Result(200, body=b'{"email": "jane@client.example"}'))


def test_an_error_code_is_stored_as_plain_text() -> None:
    assert type(Result(None, ErrorCode.RESET).error_code) is str
