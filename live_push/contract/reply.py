"""Read the client's own id of the member from an answer.

Endpoints with third-party ID synchronization must answer with ``{"third_party_id": …}``. The result of reading is the
id, or the reason why the answer has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from live_push.rules.invisible import INVISIBLE
from live_push.rules.messages import Message

KEY = "third_party_id"
"""The key of the id in the answer."""

MAX_ID_LENGTH = 100
"""Maximum length of an id, in characters."""

MAX_ANSWER_BYTES = 64 * 1024
"""Maximum size of an answer that is read for an id, in bytes."""


class Reason(StrEnum):
    """The states of an answer: it has an id, or why not. The values are stored, so they are stable."""

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


@dataclass(frozen=True)
class Reply:
    """The result of reading an answer. ``third_party_id`` is set if ``reason`` is ``FOUND``, else ``None``."""

    third_party_id: str | None
    reason: Reason

    @property
    def sentence(self) -> Message:
        """Return the reason as a sentence for operators."""
        match self.reason:
            case Reason.CUT:
                return Message(Reason.CUT, key=KEY, size=MAX_ANSWER_BYTES // 1024)
            case Reason.TOO_LONG:
                return Message(Reason.TOO_LONG, key=KEY, most=MAX_ID_LENGTH)
        return Message(self.reason, key=KEY)


class _Number(str):
    """A whole number, kept as text: ``int()`` raises for thousands of digits, even if they are in another member."""

    __slots__ = ()


def read_third_party_id(body: bytes, *, complete: bool) -> Reply:
    """Read the id from the body of a 2xx answer. Never raises.

    A valid answer is a JSON object in UTF-8, with or without a byte order mark. Its top-level member ``third_party_id``
    is either text of 1 to 100 characters after trimming, without invisible characters, or a whole number, which becomes
    text. Other members are ignored: ``{"third_party_id": 42, "status": "ok"}`` gives ``"42"``.

    ``complete`` says whether the whole body was received. A truncated body, or one of more than 64 KiB, is not read,
    because a part of it may look like a valid answer.
    """
    if not complete or len(body) > MAX_ANSWER_BYTES:
        return Reply(None, Reason.CUT)
    try:
        # Objects are read as tuples of pairs: a dictionary would hide a duplicated key. Arrays are read as lists.
        answer = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=tuple, parse_int=_Number, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return Reply(None, Reason.NOT_JSON)
    if not isinstance(answer, tuple):
        return Reply(None, Reason.NOT_AN_OBJECT)
    values = [value for key, value in answer if key == KEY]
    if len(values) != 1:
        return Reply(None, Reason.DUPLICATED if values else Reason.MISSING)
    return _read_value(values[0])


def _read_value(value: Any) -> Reply:
    if not isinstance(value, str):
        return Reply(None, Reason.WRONG_TYPE)
    text = value.strip()
    if not text:
        return Reply(None, Reason.EMPTY)
    if len(text) > MAX_ID_LENGTH:
        return Reply(None, Reason.TOO_LONG)
    if INVISIBLE.search(text):
        return Reply(None, Reason.UNPRINTABLE)
    return Reply(str(int(text)) if isinstance(value, _Number) else text, Reason.FOUND)


def _refuse_constant(constant: str) -> NoReturn:
    """Refuse ``NaN`` and the infinities, which Python's parser accepts although JSON does not have them."""
    raise ValueError(f"{constant} is not JSON")
