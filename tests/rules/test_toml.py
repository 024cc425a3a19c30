"""TOML is written so that Python reads the same values, and the lines of keys are found."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_push.rules.toml import KeyPath, as_toml, line_of, lines_of_keys, table_as_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
TABLES = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=3)


@given(TABLES)
def test_whatever_is_written_is_read_back(tables: list[dict[str, object]]) -> None:
    text = "\n".join(table_as_toml("endpoint", table) for table in tables)
    assert tomllib.loads(text).get("endpoint", []) == tables


@given(TABLES)
def test_every_written_key_has_its_line(tables: list[dict[str, object]]) -> None:
    text = "".join(table_as_toml("endpoint", table) for table in tables)
    lines = lines_of_keys(text)
    number = 0
    for position, table in enumerate(tables):
        number += 1
        assert lines[("endpoint", position)] == number
        for key in table:
            number += 1
            assert lines[("endpoint", position, key)] == number


def test_a_value_that_toml_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType can't be written"):
        as_toml([None])


DOCUMENT = '''\
# A comment
title = "x"

[[endpoint]]
name = "crm"
text = """
[[endpoint]]
name = 1
"""
withheld = [
    "a",  # ]

    "b",
]
password.env = "X"

[[endpoint]] # the second
"na me" = { inner = 1 }
[endpoint.extra_headers]
X-Source = "shop"

[other.table]
key = 1
'''


@pytest.mark.parametrize("line_break", ["\n", "\r\n"], ids=["Unix", "Windows"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param(("title",), 2, id="a key at the top"),
        pytest.param(("endpoint", 0), 4, id="a header"),
        pytest.param(("endpoint", 0, "name"), 5, id="a key of a table"),
        pytest.param(("endpoint", 0, "text"), 6, id="a text of several lines begins in its first"),
        pytest.param(("endpoint", 0, "withheld"), 10, id="so does a list"),
        pytest.param(("endpoint", 0, "password"), 15, id="a dotted key"),
        pytest.param(("endpoint", 1), 17, id="the second header, with a comment"),
        pytest.param(("endpoint", 1, "na me", "inner"), 18, id="a quoted key with an inline table"),
        pytest.param(("endpoint", 1, "extra_headers"), 19, id="a table in the table"),
        pytest.param(("endpoint", 1, "extra_headers", "X-Source"), 20, id="and its key"),
        pytest.param(("other", "table", "key"), 23, id="a table of its own"),
        pytest.param(("endpoint", 1, "unknown"), 17, id="what is not there has the line around it"),
        pytest.param(("unknown",), None, id="or none"),
    ],
)
def test_a_key_begins_in_this_line(path: KeyPath, line: int | None, line_break: str) -> None:
    assert line_of(path, lines_of_keys(DOCUMENT.replace("\n", line_break))) == line


def test_tables_in_brackets_have_the_line_of_their_array() -> None:
    lines = lines_of_keys('\nendpoint = [\n    { name = "crm" },\n]\n')
    assert line_of(("endpoint", 0, "name"), lines) == 2
