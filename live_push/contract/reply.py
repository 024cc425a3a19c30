"""The bytes of an answer → the client's own id of the member, or why there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from live_push.unseen import UNSEEN

KEY = "third_party_id"
MAX_LENGTH = 100
MAX_BYTES = 64 * 1024


class Reason(StrEnum):
    """Why an answer gave an id or none; the values are stable."""

    FOUND = "id_found"
    CUT = "id_answer_cut"
    NOT_JSON = "id_not_json"
    NOT_AN_OBJECT = "id_not_an_object"
    MISSING = "id_missing"
    DUPLICATED = "id_duplicated"
    WRONG_TYPE = "id_wrong_type"
    EMPTY = "id_empty"
    TOO_LONG = "id_too_long"
    UNPRINTABLE = "id_unprintable"


_SENTENCES = {
    Reason.FOUND: f"The answer carries {KEY}.",
    Reason.CUT: f"The answer is incomplete or longer than {MAX_BYTES // 1024} KiB, so its {KEY} can't be trusted.",
    Reason.NOT_JSON: f"The answer is no JSON; it should be an object with {KEY}.",
    Reason.NOT_AN_OBJECT: f"The answer is JSON, but no object; it should be an object with {KEY}.",
    Reason.MISSING: f"The answer is an object without {KEY}.",
    Reason.DUPLICATED: f"The answer has {KEY} more than once.",
    Reason.WRONG_TYPE: f"{KEY} in the answer is neither text nor a whole number.",
    Reason.EMPTY: f"{KEY} in the answer is empty.",
    Reason.TOO_LONG: f"{KEY} in the answer is longer than {MAX_LENGTH} characters.",
    Reason.UNPRINTABLE: f"{KEY} in the answer holds characters that can't be seen, such as controls.",
}


@dataclass(frozen=True)
class Reply:
    """What an answer says about the id: ``third_party_id`` is text exactly where ``reason`` is ``id_found``."""

    third_party_id: str | None
    reason: Reason

    @property
    def sentence(self) -> str:
        """The reason for a reader."""
        return _SENTENCES[self.reason]


class _Number(str):
    """A whole number as it was written: int() would refuse one of thousands of digits, in any member."""

    __slots__ = ()


def read_third_party_id(body: bytes, *, complete: bool) -> Reply:
    """The id in the body of a 2xx answer; never raises, whatever the bytes.

    Wanted is a JSON object in UTF-8, a byte order mark tolerated, whose top-level member ``third_party_id`` is text of
    1 to 100 characters once trimmed, without control characters and others that can't be seen, or a whole number, which
    becomes text. Other members do not matter. ``complete`` tells that no byte is missing at the end; an answer that was
    cut, or that is longer than 64 KiB, is not read at all.
    """
    if not complete or len(body) > MAX_BYTES:
        return Reply(None, Reason.CUT)
    try:
        # Pairs, since a dictionary would hide a duplicated key; in a tuple, since an array becomes a list.
        answer = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=tuple, parse_int=_Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        return Reply(None, Reason.NOT_JSON)
    if not isinstance(answer, tuple):
        return Reply(None, Reason.NOT_AN_OBJECT)
    values = [value for key, value in answer if key == KEY]
    if len(values) != 1:
        return Reply(None, Reason.DUPLICATED if values else Reason.MISSING)
    return _judge(values[0])


def _judge(value: Any) -> Reply:
    if not isinstance(value, str):
        return Reply(None, Reason.WRONG_TYPE)
    text = value.strip()
    if not text:
        return Reply(None, Reason.EMPTY)
    if len(text) > MAX_LENGTH:
        return Reply(None, Reason.TOO_LONG)
    if UNSEEN.search(text):
        return Reply(None, Reason.UNPRINTABLE)
    return Reply(str(int(text)) if isinstance(value, _Number) else text, Reason.FOUND)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
