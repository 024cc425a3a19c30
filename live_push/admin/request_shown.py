"""A request as a page shows it: every credential masked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from live_push.contract import headers
from live_push.delivery.request import Request

MASK: Final = "••••"
CREDENTIALS: Final = frozenset({headers.AUTHORIZATION.lower(), headers.API_KEY})


def shown(request: Request) -> dict[str, Any]:
    """URL, headers and body; the body as the very text that is sent, and indented."""
    return {
        "url": shown_url(request.url),
        "headers": shown_headers(request.headers),
        "body": request.body.decode(),
        "indented": indented(request.body),
        "size": len(request.body),
    }


def shown_url(url: str) -> str:
    """The URL, each value of its query masked: some clients have a token there."""
    path, mark, query = url.partition("?")
    return path + mark + re.sub("[^&;]+", lambda found: _without_value(found[0]), query)


def _without_value(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}={value and MASK}" if equals else MASK


def shown_headers(sent: Mapping[str, str | bytes]) -> list[tuple[str, str]]:
    """Names and values in order; of a credential only how it is sent."""
    return [
        (name, masked(name, value if isinstance(value, str) else value.decode("latin-1")))
        for name, value in sent.items()
    ]


def masked(name: str, value: str) -> str:
    """A header's value, or what may be shown of it."""
    if name.lower() not in CREDENTIALS:
        return value
    scheme, blank, _credential = value.partition(" ")
    return f"{scheme} {MASK}" if blank and name.lower() == headers.AUTHORIZATION.lower() else MASK


def outlined(body: bytes | str) -> str:
    """The members of a JSON body, indented, with what kind of value each has in its place; never a value."""
    return json.dumps(_kinds(json.loads(body)), ensure_ascii=False, indent=2)


def _kinds(value: Any) -> Any:
    match value:
        case dict():
            return {key: _kinds(member) for key, member in value.items()}
        case list():
            return [_kinds(member) for member in value]
        case None:
            return None
        case bool():
            return f"{MASK} boolean"
        case str():
            return f"{MASK} text"
    return f"{MASK} number"


def indented(body: bytes | str) -> str:
    """JSON, a member a line; what is no JSON, as it is."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body if isinstance(body, str) else body.decode("utf-8", "replace")
