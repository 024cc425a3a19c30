"""The record of one attempt and the words for what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import live_push
from live_push.rules.result import ErrorCode, Result, is_2xx


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_says_what_it_means_and_what_to_do(code: ErrorCode) -> None:
    assert code.meaning.endswith(".")
    assert code.remedy.endswith(".")


def test_no_two_codes_share_a_meaning() -> None:
    assert len({code.meaning for code in ErrorCode}) == len(ErrorCode)


def test_codes_fit_their_column_and_a_search_box() -> None:
    assert all(code.value.replace("_", "").isalpha() and code.value.islower() for code in ErrorCode)
    assert max(map(len, ErrorCode)) <= 32


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


@pytest.mark.parametrize(
    ("status_code", "is_one"), [(None, False), (199, False), (200, True), (204, True), (299, True), (300, False)]
)
def test_a_2xx_is_200_to_299(status_code: int | None, is_one: bool) -> None:
    assert is_2xx(status_code) is is_one


def test_no_other_file_spells_what_a_2xx_is() -> None:
    package = Path(live_push.__file__).parent
    spelled = re.compile(r"\b200 <=|<= 299\b|< 300\b|// 100 == 2\b|\(200, (299|300)\)")
    files = {str(path.relative_to(package)) for path in package.rglob("*.py") if spelled.search(path.read_text())}
    assert files == {"rules/result.py"}
