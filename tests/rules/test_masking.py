"""How a secret is held in memory: usable, and not to be seen."""

from __future__ import annotations

import copy
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from live_push.exceptions import SecretMisuse
from live_push.rules.masking import Masked, MaskedBytes, Secret

TEXT = "correct horse battery staple"


@dataclass
class Holder:
    held: object


SHOWN = [
    pytest.param(repr, id="repr"),
    pytest.param(lambda secret: f"{secret!r}", id="formatted-by-repr"),
    pytest.param(lambda secret: repr([secret]), id="in-a-list"),
    pytest.param(lambda secret: repr({"password": secret}), id="in-a-dictionary"),
    pytest.param(lambda secret: repr(Holder(secret)), id="in-a-dataclass"),
    pytest.param(lambda secret: pprint.pformat({"headers": {"x-api-key": secret}}), id="pretty-printed"),
    pytest.param(lambda secret: repr(vars(Holder(secret))), id="among-the-attributes-of-an-object"),
]


@pytest.mark.parametrize("show", SHOWN)
@pytest.mark.parametrize(
    "secret",
    [Masked(TEXT), MaskedBytes(TEXT.encode()), Secret(text=TEXT), Secret(token=TEXT)],
    ids=["masked", "bytes", "new", "kept"],
)
def test_a_secret_does_not_show_itself(show: Callable[[object], str], secret: object) -> None:
    shown = show(secret)
    assert TEXT not in shown
    assert "***" in shown


@pytest.mark.parametrize("show", [str, "{}".format, lambda secret: "%s" % secret], ids=["str", "format", "percent"])  # noqa: UP031
def test_the_value_of_a_column_does_not_even_show_as_text(show: Callable[[object], str]) -> None:
    assert show(Secret(text=TEXT)) == "***"
    assert show(MaskedBytes(TEXT.encode())) == "***"


def test_a_masked_text_is_used_like_any_other() -> None:
    masked = Masked(TEXT)
    assert masked == TEXT
    assert masked.encode() == TEXT.encode()
    assert f"Bearer {masked}" == f"Bearer {TEXT}"


def test_a_traceback_with_local_variables_shows_no_masked_text() -> None:
    def send(headers: dict[str, str]) -> None:
        value = headers["x-api-key"]
        raise ValueError(len(value))

    try:
        send({"x-api-key": Masked(TEXT)})
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "x-api-key" in shown
    assert TEXT not in shown


@pytest.mark.parametrize("secret", [Masked(TEXT), Secret(text=TEXT)], ids=["masked", "new"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_readable_secret_is_not_pickled(secret: object, protocol: int) -> None:
    with pytest.raises(SecretMisuse):
        pickle.dumps({"deep": [secret]}, protocol)


def test_a_stored_secret_is_pickled_as_its_ciphertext() -> None:
    stored = Secret(token="live_push:1:ciphertext")
    assert pickle.loads(pickle.dumps(stored)) == stored  # noqa: S301


@pytest.mark.parametrize("secret", [Masked(TEXT), Secret(text=TEXT), Secret(token="t")], ids=["masked", "new", "kept"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_as_concealed(copied: Callable[[object], object], secret: object) -> None:
    twin = copied(secret)
    assert twin == secret
    assert repr(twin) == "***"


def test_a_secret_is_not_changed_behind_its_owner() -> None:
    secret = Secret(text=TEXT)
    with pytest.raises(SecretMisuse):
        secret.token = "forged"  # type: ignore[misc]


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret(text=TEXT) == Secret(text=TEXT)
    assert len({Secret(text=TEXT), Secret(text=TEXT)}) == 1
    assert Secret(text=TEXT) != Secret(token=TEXT)
    assert Secret(text=TEXT) != TEXT
