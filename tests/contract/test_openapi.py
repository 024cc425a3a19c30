"""The published description of the request and its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

import live_push
from live_push.contract import headers
from live_push.contract.options import PayloadOptions
from live_push.contract.schema import body_schema, openapi

from . import members

each_option = pytest.mark.parametrize("options", members.OPTIONS.values(), ids=members.OPTIONS)


def operation(options: PayloadOptions | None = None) -> dict[str, Any]:
    found: dict[str, Any] = openapi(options)["webhooks"]["profileUpdated"]["post"]
    return found


@each_option
def test_the_document_is_valid(options: PayloadOptions) -> None:
    document = openapi(options)
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["info"]["version"] == live_push.__version__
    json.dumps(document, allow_nan=False)


@each_option
def test_it_carries_the_endpoints_own_schema_and_a_sample_that_keeps_it(options: PayloadOptions) -> None:
    schema = openapi(options)["components"]["schemas"]["Profile"]
    assert {key: value for key, value in body_schema(options).items() if not key.startswith("$")} == schema
    Draft202012Validator(schema).validate(operation(options)["requestBody"]["content"]["application/json"]["example"])


def test_it_names_every_header_that_a_request_may_carry_of_its_own() -> None:
    request = headers.build_headers(
        event_id="evt",
        sequence=7,
        attempt_number=1,
        timestamp=1,
        body=b"{}",
        auth=headers.Auth.none(),
        signing_secrets=["whsec_" + "A" * 32],
        extra_headers={},
        test=True,
    )
    parameters = {parameter["name"]: parameter for parameter in operation()["parameters"]}
    # OpenAPI wants the content type told by the request body.
    assert set(parameters) == set(request) - {headers.CONTENT_TYPE}
    for name, parameter in parameters.items():
        value = int(request[name]) if parameter["schema"].get("type") == "integer" else request[name]
        Draft202012Validator(parameter["schema"]).validate(value)


def test_required_headers_are_those_of_the_barest_request() -> None:
    request = headers.build_headers(
        event_id="evt",
        sequence=None,
        attempt_number=1,
        timestamp=1,
        body=b"{}",
        auth=headers.Auth.none(),
        signing_secrets=[],
        extra_headers={},
    )
    required = {parameter["name"] for parameter in operation()["parameters"] if parameter["required"]}
    assert required == set(request) - {headers.CONTENT_TYPE}


def test_it_offers_no_login_basic_and_an_api_key() -> None:
    schemes = openapi()["components"]["securitySchemes"]
    assert operation()["security"] == [{}, {"basic": []}, {"apiKey": []}]
    assert (schemes["basic"]["type"], schemes["basic"]["scheme"]) == ("http", "basic")
    assert (schemes["apiKey"]["type"], schemes["apiKey"]["in"], schemes["apiKey"]["name"]) == (
        "apiKey",
        "header",
        "x-api-key",
    )


def test_it_tells_what_each_answer_means() -> None:
    responses = operation()["responses"]
    assert set(responses) == {"2XX", "3XX", "410", "413", "429", "503", "default"}
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        pytest.param({"third_party_id": "123456789"}, True, id="an id"),
        pytest.param({"third_party_id": 123456789}, True, id="a number"),
        pytest.param({"third_party_id": "a", "status": "ok"}, True, id="other members too"),
        pytest.param({}, True, id="no id, where none is captured"),
        pytest.param({"third_party_id": True}, False, id="a boolean"),
        pytest.param({"third_party_id": 1.5}, False, id="a float"),
        pytest.param({"third_party_id": ""}, False, id="an empty id"),
        pytest.param([], False, id="a list"),
    ],
)
def test_it_describes_the_answer_that_carries_an_id(answer: Any, fits: bool) -> None:
    assert Draft202012Validator(openapi()["components"]["schemas"]["ThirdPartyId"]).is_valid(answer) is fits
