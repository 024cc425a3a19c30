"""Show a request on a page, with every credential masked. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from live_push.contract import headers
from live_push.delivery.request import Request
from live_push.rules.endpoint_url import MASK, shown_url

CREDENTIAL_HEADERS: Final = frozenset({headers.AUTHORIZATION.lower(), headers.API_KEY})


def shown(request: Request) -> dict[str, Any]:
    """Return URL, headers and body; the body both as it is sent and indented."""
    return {
        "url": shown_url(request.url),
        "headers": shown_headers(request.headers),
        "body": request.body.decode(),
        "indented": indented(request.body),
        "size": len(request.body),
    }


def shown_headers(sent: Mapping[str, str | bytes]) -> list[tuple[str, str]]:
    """Return names and values in the order in which they are sent. Credentials are masked."""
    return [
        (name, masked_value(name, value if isinstance(value, str) else value.decode("latin-1")))
        for name, value in sent.items()
    ]


def masked_value(name: str, value: str) -> str:
    """Return a header's value, masked if it is a credential. The scheme of ``Authorization`` stays visible."""
    if name.lower() not in CREDENTIAL_HEADERS:
        return value
    scheme, blank, _credential = value.partition(" ")
    return f"{scheme} {MASK}" if blank and name.lower() == headers.AUTHORIZATION.lower() else MASK


def outlined(body: bytes | str) -> str:
    """Return a JSON body, indented, with the type of each value in its place."""
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
    """Return JSON with one key a line. A body that is not JSON is returned unchanged."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body if isinstance(body, str) else body.decode("utf-8", "replace")
