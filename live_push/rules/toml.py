"""Write values as TOML and find the lines of keys. The standard ``tomllib`` does neither. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

KeyPath = tuple[str | int, ...]
"""Where a value stands, such as ``("endpoint", 0, "url")``: keys, and positions in arrays of tables from 0."""

_BARE_KEY: Final = re.compile("[A-Za-z0-9_-]+")


def as_toml(value: Any) -> str:
    """Return a text, a boolean, a number, a list or a dictionary as a TOML value in one line.

    Raises ``TypeError`` for any other type.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{_key(key)} = {as_toml(item)}" for key, item in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    raise TypeError(f"{type(value).__name__} can't be written as TOML.")


def table_as_toml(header: str, table: Mapping[str, Any]) -> str:
    """Return one table of the array ``header``, with a line for each key."""
    return "".join([f"[[{_key(header)}]]\n", *(f"{_key(key)} = {as_toml(value)}\n" for key, value in table.items())])


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    # The escapes of JSON are valid in TOML. TOML also requires one for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, in which each key of a valid document begins.

    A key inside an array that is written in brackets is not listed. Its line is that of the array.
    """
    lines: dict[KeyPath, int] = {}
    positions: dict[str, int] = {}
    table: KeyPath = ()
    for begun, statement, is_header in _statements(text):
        path: KeyPath = tuple(_keys(statement))
        if is_header:
            name, *rest = map(str, path)
            if isinstance(statement[name], list):
                positions[name] = positions.get(name, -1) + 1
            table = path = (name, positions[name], *rest) if name in positions else path
        else:
            path = (*table, *path)
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], begun)
    return lines


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """Return the line of the value at ``path``, or of the nearest one around it that is listed."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Yield for each statement its first line, what it alone parses to, and whether it is the header of a table."""
    pending, begun = "", 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        begun = begun if pending else number
        pending += f"{line}\n"
        try:
            parsed = tomllib.loads(pending)
        except ValueError:
            # The statement goes on in the next line.
            continue
        if parsed:
            yield begun, parsed, pending.lstrip().startswith("[")
        pending = ""


def _keys(value: Any) -> Iterator[str]:
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        yield key
