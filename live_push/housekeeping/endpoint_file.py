"""Read and write the file that describes endpoints as code.

The file is TOML with one ``[[endpoint]]`` table for each endpoint. It never holds a secret, only where the secret is.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ValidationError

from live_push.models import Audience, ClientEndpoint, validators
from live_push.models.credentials import CREDENTIALS
from live_push.rules.masking import Masked
from live_push.rules.toml import KeyPath, line_of, lines_of_keys, table_as_toml

TABLE: Final = "endpoint"

AUDIENCE: Final = "audience"

OPTIONS: Final[Mapping[str, type]] = {
    "url": str,
    "is_active": bool,
    AUDIENCE: list,
    "contact_email": str,
    "auth_method": str,
    "username": str,
    "capture_third_party_id": bool,
    "ordering": str,
    "retry_policy": str,
    "max_in_flight": int,
    "rate_limit_per_second": float,
    "timeframe_score_alias": bool,
    "null_levels_as_objects": bool,
    "mobile_verified_as_date": bool,
    "withheld_fields": list,
    "only_changes": bool,
    "ignored_keys": list,
    "extra_headers": dict,
}
"""The columns that a file may set, besides the name and the credentials, and the type of each value.

The audience is not a column: it is ``"all"``, or the list of the brandings.
"""

NO_LIMIT: Final = math.inf
"""The rate limit in the file that stands for none, because TOML has no null."""

_KINDS: Final[Mapping[type, str]] = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}
# TOML's whole numbers have 64 bits. Python reads larger ones, which are too large for a column of floats.
_TOO_LARGE: Final = 2**63
_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")
_HEAD: Final = """\
# Endpoints of live_push. A secret is never written here, only where it is:
# { env = "NAME" } for an environment variable, { file = "PATH" } for a file.
"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, and where: its line from 1, the endpoint's name and the key, where known."""

    message: str
    file: str
    line: int | None = None
    endpoint: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        endpoint = None if self.endpoint is None else f"endpoint {self.endpoint!r}"
        # Shown with its escapes, because a key in the file can hold characters that control a terminal.
        key = None if self.key is None else (self.key if self.key.isprintable() else repr(self.key))
        return ": ".join(filter(None, [place, ", ".join(filter(None, [endpoint, key])), self.message]))


class EndpointFileError(Exception):
    """A file can't be applied, and nothing was changed. ``faults`` says why. Never carries a secret."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True)
class Described:
    """One endpoint as a file describes it: the values of its options, and the secrets that were read.

    An option that the file leaves out is not among ``options``.
    """

    name: str
    options: Mapping[str, Any]
    secrets: Mapping[str, Masked]
    faults: _FaultList
    path: KeyPath

    def add_fault(self, message: str, key: str = "") -> None:
        """Add a fault of this endpoint, at the line of the key or else of the endpoint."""
        self.faults.add(message, *self.path, key, endpoint=self.name or None)


class _FaultList:
    """Collects faults, so that all of them are shown together."""

    def __init__(self, file: Path, lines: Mapping[KeyPath, int]) -> None:
        self._file, self._lines, self._found = str(file), lines, list[Fault]()

    def add(self, message: str, *path: str | int, endpoint: str | None = None) -> None:
        key = path[-1] if path and isinstance(path[-1], str) else None
        self._found.append(Fault(message, self._file, line_of(path, self._lines), endpoint, key or None))

    def raise_any(self) -> None:
        if self._found:
            raise EndpointFileError(sorted(self._found, key=lambda fault: fault.line or 0))


@dataclass(frozen=True)
class EndpointFile:
    """What a file describes. ``raise_faults()`` raises what was added to the faults of its endpoints."""

    endpoints: Sequence[Described]
    faults: _FaultList

    def raise_faults(self) -> None:
        """Raise :class:`EndpointFileError` with all faults, in the order of their lines, if there are any."""
        self.faults.raise_any()


def read_endpoint_file(path: Path) -> EndpointFile:
    """Read a file and the secrets to which it refers. Raises :class:`EndpointFileError` with everything wrong in it."""
    text = _text_of(path)
    document = _parsed(path, text)
    faults = _FaultList(path, lines_of_keys(text))
    for key in document.keys() - {TABLE}:
        faults.add(f"There is no such key. Begin each endpoint with [[{TABLE}]].", key)
    tables = document.get(TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.add(f"Begin each endpoint with [[{TABLE}]], in double brackets.", TABLE)
        tables = []
    endpoints = [_described(table, (TABLE, number), faults, path.parent) for number, table in enumerate(tables)]
    _refuse_namesakes(endpoints)
    faults.raise_any()
    return EndpointFile(endpoints, faults)


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise EndpointFileError([Fault(f"The file can't be read: {error.strerror}.", str(path))]) from None
    except UnicodeDecodeError:
        raise EndpointFileError([Fault("The file is not UTF-8 text.", str(path))]) from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else None
        if "end of document" in str(error):
            line = text.count("\n") + 1
        raise EndpointFileError([Fault(f"This is not valid TOML: {error}.", str(path), line)]) from None


def _described(table: Mapping[str, Any], path: KeyPath, faults: _FaultList, folder: Path) -> Described:
    name = table.get("name")
    if not isinstance(name, str):
        message = "The endpoint has no name." if name is None else f"Write {_KINDS[str]}; found {_kind_of(name)}."
        faults.add(message, *path, "name")
    options: dict[str, Any] = {}
    secrets: dict[str, Masked] = {}
    endpoint = Described(name if isinstance(name, str) else "", options, secrets, faults, path)
    for key, value in table.items():
        if key in CREDENTIALS:
            secret = _secret(key, value, endpoint, folder)
            if secret is not None:
                secrets[key] = secret
        elif key in OPTIONS:
            _read_option(key, value, endpoint, options)
        elif key == "signing_secret":
            endpoint.add_fault("Signing secrets are generated and rotated in the admin. Leave the key out.", key)
        elif key != "name":
            endpoint.add_fault("There is no such option.", key)
    return endpoint


def _is_of(kind: type, value: Any) -> bool:
    if type(value) is int and kind in (int, float):
        return abs(value) < _TOO_LARGE
    return type(value) is kind and not _is_nan(value)


def _read_option(key: str, value: Any, endpoint: Described, options: dict[str, Any]) -> None:
    if key == AUDIENCE:
        _read_audience(value, endpoint, options)
    elif _is_of(OPTIONS[key], value):
        options[key] = None if key == "rate_limit_per_second" and value == NO_LIMIT else value
    else:
        endpoint.add_fault(f"Write {_KINDS[OPTIONS[key]]}; found {_kind_of(value)}.", key)


def _read_audience(value: Any, endpoint: Described, options: dict[str, Any]) -> None:
    if value == Audience.ALL:
        options[AUDIENCE] = value
    elif isinstance(value, list) and all(map(_may_be_a_branding, value)):
        options[AUDIENCE] = sorted(set(value))
    else:
        endpoint.add_fault('Write "all", or a list of brandings: texts of 1 to 255 characters.', AUDIENCE)


def _may_be_a_branding(value: Any) -> bool:
    try:
        validators.branding(value)
    except ValidationError:
        return False
    return True


def value_of(endpoint: ClientEndpoint, option: str) -> Any:
    """Return the value of an option as a file has it, except that no rate limit is ``None``."""
    if option != AUDIENCE:
        return getattr(endpoint, option)
    return endpoint.brandings if endpoint.audience == Audience.LISTED else Audience.ALL.value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _kind_of(value: Any) -> str:
    if _is_nan(value):
        return "nan"
    if type(value) is int and abs(value) >= _TOO_LARGE:
        return "a number that is too large"
    return _KINDS.get(type(value), "a date or a time")


def _secret(key: str, value: Any, endpoint: Described, folder: Path) -> Masked | None:
    """Return the secret to which a value of the file refers. If there is none, add a fault and return ``None``."""
    reference = list(value.items()) if isinstance(value, dict) else []
    if len(reference) != 1 or reference[0][0] not in ("env", "file") or not isinstance(reference[0][1], str):
        endpoint.add_fault(
            'This is a secret, so the file must only say where it is: { env = "NAME" } or { file = "PATH" }.', key
        )
        return None
    kind, where = reference[0]
    # The messages do not repeat the name, because somebody may have written the secret itself in its place.
    if kind == "env":
        text, source = os.environ.get(where), "The environment variable named here"
        if text is None:
            endpoint.add_fault(f"{source} is not set.", key)
            return None
    else:
        source = "The file named here"
        try:
            text = (folder / where).read_bytes().decode()
        except OSError as error:
            endpoint.add_fault(f"{source} can't be read: {error.strerror}.", key)
            return None
        except ValueError:
            endpoint.add_fault(f"{source} can't be read: its name or its text is invalid.", key)
            return None
    # Editors and secret stores end a file with a line break, which does not belong to the secret.
    secret = Masked(text.rstrip("\r\n") if kind == "file" else text)
    if not secret:
        endpoint.add_fault(f"{source} is empty.", key)
        return None
    return secret


def _refuse_namesakes(endpoints: Iterable[Described]) -> None:
    seen: set[str] = set()
    for endpoint in endpoints:
        if endpoint.name and endpoint.name in seen:
            endpoint.add_fault("An endpoint above has the same name. Remove one of the two.", "name")
        seen.add(endpoint.name)


def endpoints_as_toml(endpoints: Iterable[ClientEndpoint]) -> str:
    """Return the file that describes these endpoints. A stored secret becomes a reference to an environment variable.

    ``crm`` gets ``{ env = "CRM_API_KEY" }`` for its API key.
    """
    variables: set[str] = set()
    return "\n".join([_HEAD, *(table_as_toml(TABLE, _as_table(endpoint, variables)) for endpoint in endpoints)])


def _as_table(endpoint: ClientEndpoint, variables: set[str]) -> dict[str, Any]:
    table: dict[str, Any] = {"name": endpoint.name}
    for option in OPTIONS:
        table[option] = value_of(endpoint, option)
        if option == "username":
            table |= {
                secret: {"env": _variable(endpoint.name, secret, variables)}
                for secret in CREDENTIALS
                if getattr(endpoint, secret) is not None
            }
    if table["rate_limit_per_second"] is None:
        table["rate_limit_per_second"] = NO_LIMIT
    return table


def _variable(name: str, secret: str, taken: set[str]) -> str:
    """Return a name for an environment variable that no other secret of the file has, and add it to ``taken``."""
    stem = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    stem = stem if stem[:1].isalpha() else f"ENDPOINT_{stem}".rstrip("_")
    variable, number = f"{stem}_{secret.upper()}", 2
    while variable in taken:
        variable, number = f"{stem}_{number}_{secret.upper()}", number + 1
    taken.add(variable)
    return variable
