"""The field table, and that nobody spells a key beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import live_push
from live_push.contract.fields import BODY, LEVEL, TIER_INFO, Field, Kind
from live_push.contract.sample import ROW

PACKAGE = Path(live_push.__file__).parent

TABLES = {"body": BODY, "tier block": TIER_INFO, "level": LEVEL}


@pytest.mark.parametrize(("table", "length"), [(BODY, 53), (TIER_INFO, 14), (LEVEL, 3)], ids=TABLES)
def test_each_table_has_the_published_number_of_keys(table: tuple[Field, ...], length: int) -> None:
    assert len({field.key for field in table}) == len(table) == length


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_key_tells_what_it_means(table: tuple[Field, ...]) -> None:
    assert [field.key for field in table if not field.meaning.isascii() or len(field.meaning) < 4] == []


def test_only_what_is_always_null_has_no_attribute() -> None:
    assert {field.key for field in BODY if not field.attribute} == {"password", "salt", "hashAlgorithmId"}
    assert {field.key for field in BODY if field.kind is Kind.NOTHING} == {"password", "salt", "hashAlgorithmId"}


def test_a_row_has_one_column_for_each_key_that_is_neither_derived_nor_always_null() -> None:
    attributes = {field.attribute for field in BODY if field.attribute and not field.attribute.startswith("tier_")}
    assert len(attributes) == 53 - 3 - 2
    assert attributes < set(ROW)


def test_no_other_file_spells_a_key_in_camel_case() -> None:
    camel = {field.key for field in (*BODY, *TIER_INFO, *LEVEL) if not field.key.islower()}
    spelled = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "contract" / "fields.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in camel
    ]
    assert spelled == [], "A body key is spelled in contract/fields.py only; look it up by its attribute."
