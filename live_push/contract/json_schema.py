"""The field table → JSON Schema 2020-12 of the body, for the options of one endpoint."""

from __future__ import annotations

from typing import Any

from .fields import (
    BODY,
    BODY_KEYS,
    EVENTS,
    INTEGER_MAX,
    INTEGER_MIN,
    LEVEL,
    NULL_TOGETHER,
    TIER_INFO,
    TIER_KEYS,
    TIMEFRAME_SCORE_ALIAS,
    Field,
    Kind,
)
from .options import PayloadOptions

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The value already implies the type, but Ajv in strict mode and code generators require it.
_NULL: Schema = {"type": "null", "const": None}
_INTEGER: Schema = {"type": "integer", "minimum": INTEGER_MIN, "maximum": INTEGER_MAX}
_COUNT: Schema = {**_INTEGER, "minimum": 0}
_INSTANT: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
    # Some engines let $ match before a line break at the end.
    "maxLength": len("2017-03-23T20:00:00Z"),
}

_TYPES: dict[Kind, Schema] = {
    Kind.TEXT: {"type": "string"},
    Kind.INTEGER: _INTEGER,
    Kind.NUMERIC: _INTEGER,
    Kind.COUNT: _COUNT,
    Kind.DAYS: _COUNT,
    Kind.FLAG: {"type": "integer", "enum": [0, 1]},
    Kind.TEXT_FLAG: {"type": "string", "enum": ["0", "1"]},
    Kind.TIMESTAMP: _INTEGER,
    Kind.INSTANT: _INSTANT,
    Kind.EVENT: {"type": "string", "enum": list(EVENTS)},
    Kind.CUSTOM_DATA: {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    },
}


def body_schema(options: PayloadOptions | None = None) -> Schema:
    """JSON Schema of what an endpoint with these options receives; without any, of the plain body.

    Closed on every level but in custom data: all keys required, none beside them. What the schema can't say: that both
    scores are equal, and that the level's name is the title of the current tier.
    """
    options = options or PayloadOptions()
    withheld = frozenset(options.withheld_fields)
    schema = _object({field.key: _described(field, _member(field, options, withheld)) for field in BODY})
    name = BODY_KEYS["tier_title"]
    if name not in withheld:
        without_tier = {BODY_KEYS["tier_info"]: _with_members({TIER_KEYS["tier_current_level"]: _NULL})}
        schema["allOf"] = [_when(without_tier, {name: _NULL}, {name: {"not": _NULL}})]
    return {
        "$schema": _DIALECT,
        "$id": _id(options),
        "title": "Live push of a member's profile",
        "description": "The whole profile of one member, sent at every update. Null means unknown or not applicable.",
        **schema,
    }


def _id(options: PayloadOptions) -> str:
    variant = [name for name, value in vars(options).items() if value is True]
    if options.withheld_fields:
        variant.append("without=" + ",".join(sorted(options.withheld_fields)))
    return ":".join(["urn:live-push:body", *variant])


def _member(field: Field, options: PayloadOptions, withheld: frozenset[str] = frozenset()) -> Schema:
    if field.kind is Kind.NOTHING or field.key in withheld:
        return _NULL
    if field.kind is Kind.TIER_INFO:
        return _tier_info(options)
    if field.kind is Kind.LEVEL:
        return _level(field, options)
    if field.kind is Kind.VERIFIED:
        schema = _INTEGER if options.mobile_verified_as_date else {"type": "integer", "enum": [1]}
    else:
        schema = _TYPES[field.kind]
    if field.max_length is not None:
        schema = {**schema, "maxLength": field.max_length}
    return _or_null(schema) if field.nullable else schema


def _tier_info(options: PayloadOptions) -> Schema:
    members = {}
    pairs = [(TIER_KEYS[first], TIER_KEYS[second]) for first, second in NULL_TOGETHER]
    for field in TIER_INFO:
        members[field.key] = _described(field, _member(field, options))
        if options.timeframe_score_alias and field.attribute == TIMEFRAME_SCORE_ALIAS.attribute:
            members[TIMEFRAME_SCORE_ALIAS.key] = _described(TIMEFRAME_SCORE_ALIAS, _member(field, options))
            pairs.append((field.key, TIMEFRAME_SCORE_ALIAS.key))
    nothing = dict.fromkeys(members, _NULL)
    if options.null_levels_as_objects:
        nothing[TIER_KEYS["tier_next_level"]] = _null_level()
    rules = [
        _when({first: nothing[first]}, {second: nothing[second]}, {second: {"not": nothing[second]}})
        for first, second in pairs
    ]
    current = TIER_KEYS["tier_current_level"]
    return {**_object(members), "allOf": [*rules, _when({current: _NULL}, nothing)]}


def _level(field: Field, options: PayloadOptions) -> Schema:
    level = _object({member.key: _described(member, _member(member, options)) for member in LEVEL})
    if options.null_levels_as_objects and field.attribute == "tier_next_level":
        return {"anyOf": [level, _null_level()]}
    return _or_null(level)


def _null_level() -> Schema:
    return _object({member.key: _NULL for member in LEVEL})


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _described(field: Field, schema: Schema) -> Schema:
    return {"description": field.meaning, **schema}


def _or_null(schema: Schema) -> Schema:
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable


def _when(condition: dict[str, Schema], then: dict[str, Schema], otherwise: dict[str, Schema] | None = None) -> Schema:
    rule: Schema = {"if": _with_members(condition), "then": _with_members(then)}
    if otherwise is not None:
        rule["else"] = _with_members(otherwise)
    return rule


def _with_members(members: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": members}
