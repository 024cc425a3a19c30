"""The contract from the command line."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from live_push.contract.options import PayloadOptions
from live_push.contract.schema import body_schema, openapi, sample

ALL = PayloadOptions(True, True, True, ("emailAddress", "firstName"))
ALL_FLAGS = [
    "--timeframe-score-alias",
    "--null-levels-as-objects",
    "--mobile-verified-as-date",
    "--withhold=emailAddress",
    "--withhold=firstName",
]


def printed(*arguments: str) -> str:
    out = StringIO()
    call_command("live_push_contract", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], body_schema(), id="the JSON Schema, unless told otherwise"),
        pytest.param(["--format=json-schema"], body_schema(), id="the JSON Schema"),
        pytest.param(["--format=openapi"], openapi(), id="the OpenAPI document"),
        pytest.param(["--format=sample"], sample(), id="the sample"),
        pytest.param(["--format=json-schema", *ALL_FLAGS], body_schema(ALL), id="the JSON Schema of one endpoint"),
        pytest.param(["--format=openapi", *ALL_FLAGS], openapi(ALL), id="the OpenAPI document of one endpoint"),
        pytest.param(["--format=sample", *ALL_FLAGS], sample(ALL), id="the sample of one endpoint"),
    ],
)
def test_it_prints_json_for_a_reader(arguments: list[str], expected: dict[str, Any]) -> None:
    assert printed(*arguments) == json.dumps(expected, indent=2) + "\n"


def test_a_key_that_cannot_be_withheld_is_a_wrong_call() -> None:
    with pytest.raises(CommandError, match="tierInfo can't be withheld") as caught:
        printed("--withhold=tierInfo")
    assert caught.value.returncode == 2


def test_an_unknown_format_is_a_wrong_call() -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        printed("--format=xml")
