"""Bodies that break the contract in exactly one place each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from live_push.contract.fields import BODY, LEVEL, TIER_INFO, Field, Kind

Mutant = tuple[str, dict[str, Any]]

# What no value of a kind may look like, told here once more on purpose: the schema must not judge itself.
WRONG: dict[Kind, list[Any]] = {
    Kind.TEXT: [1, True, 1.5, [], {}],
    Kind.INTEGER: ["1", True, False, 1.5, [], {}, 2**63, -(2**63) - 1],
    Kind.NUMERIC: ["1", True, 1.5, [], {}, 2**63],
    Kind.COUNT: ["1", True, 1.5, [], -1, 2**63],
    Kind.DAYS: ["1", True, 1.5, [], -1, 2**63],
    Kind.FLAG: [True, False, "1", "0", 2, -1, 0.5, []],
    Kind.TEXT_FLAG: [0, 1, True, False, "2", "", "true", []],
    Kind.TIMESTAMP: ["1490290125", "2017-03-23T20:00:00Z", True, 1.5, [], 2**63],
    Kind.VERIFIED: [True, "1", 1.5, [], {}, "2017-03-23T20:00:00Z"],
    Kind.INSTANT: [
        1490290125,
        True,
        [],
        "",
        "2017-03-23",
        "2017-03-23 20:00:00Z",
        "2017-03-23T20:00:00",
        "2017-03-23T20:00:00+00:00",
        "2017-03-23T20:00:00.5Z",
        "2017-03-23T20:00:00z",
        "2017-03-23T20:00:00Z\n",
        "2017-13-23T20:00:00Z",
        "2017-03-32T20:00:00Z",
        "2017-03-23T24:00:00Z",
        "2017-03-23T20:60:00Z",
        "٢٠١٧-03-23T20:00:00Z",
    ],
    Kind.EVENT: ["", "DROP", "promoted", 1, True, []],
    Kind.NOTHING: ["", 0, False, [], {}, "null"],
    Kind.CUSTOM_DATA: ["{}", {}, [], 1, True, {"a": {}}, {"a": [1]}],
    Kind.TIER_INFO: ["", 1, [], {}, True],
    Kind.LEVEL: ["Tier 1", 1, [], {}, True],
}

OBJECTS: dict[tuple[str, ...], tuple[Field, ...]] = {
    (): BODY,
    ("tierInfo",): TIER_INFO,
    ("tierInfo", "currentLevel"): LEVEL,
    ("tierInfo", "nextLevel"): LEVEL,
}


def broken(body: dict[str, Any], *, withheld: tuple[str, ...] = ()) -> Iterator[Mutant]:
    """One mutant for every key that is missing, unknown, of a wrong type, null or not null against the rule."""
    for path, fields in OBJECTS.items():
        if _at(body, path) is None:
            continue
        yield _named("an unknown key", path), _with(body, (*path, "favouriteColour"), None)
        for field in fields:
            yield from _broken_member(body, (*path, field.key), field, field.key in withheld and not path)


def _broken_member(body: dict[str, Any], path: tuple[str, ...], field: Field, withheld: bool) -> Iterator[Mutant]:
    yield _named("missing", path), _without(body, path)
    kind = Kind.NOTHING if withheld else field.kind
    for wrong in WRONG[kind]:
        yield _named(f"is {wrong!r}", path), _with(body, path, wrong)
    if not field.nullable and not withheld:
        yield _named("is null", path), _with(body, path, None)
    if field.max_length is not None and not withheld:
        yield _named("too long", path), _with(body, path, "x" * (field.max_length + 1))


def _named(what: str, path: tuple[str, ...]) -> str:
    return f"{'.'.join(path) or 'body'}: {what}"


def _with(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    mutant = copy.deepcopy(body)
    _at(mutant, path[:-1])[path[-1]] = value
    return mutant


def _without(body: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    mutant = copy.deepcopy(body)
    del _at(mutant, path[:-1])[path[-1]]
    return mutant


def _at(body: dict[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = body
    for key in path:
        found = found[key]
    return found
