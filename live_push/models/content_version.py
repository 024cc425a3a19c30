"""When the digests of what an endpoint's clients have accepted become void: at each change of what a body means.

The digests contain the endpoint's content version, so a new version makes them void without writing a confirmation. An
endpoint may have millions of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from .version_column import new_version

DECIDE_CONTENT: Final = frozenset(
    {
        "url",
        "extra_headers",
        "capture_third_party_id",
        "timeframe_score_alias",
        "null_levels_as_objects",
        "mobile_verified_as_date",
        "withheld_fields",
        "only_changes",
        "ignored_keys",
    }
)
"""The columns of an endpoint whose change renews its content version.

They decide where bodies go, how they are made and compared, and whether the answer must have an id. A header may name a
tenant of the client.

While ``only_changes`` is off, starts of attempts do not empty digests, so switching it on makes the old ones void.
"""


class HasContentVersion(Protocol):
    """An endpoint, for :func:`renew_content_version`."""

    content_version: int


def renew_content_version(endpoint: HasContentVersion, stored: Mapping[str, Any], written: Collection[str]) -> bool:
    """Give the endpoint a new content version if a written column needs it, else the stored one. Return which.

    The stored one, because a copy in memory may be older: its version would make void digests valid again.
    """
    changed = any(stored[name] != getattr(endpoint, name) for name in DECIDE_CONTENT.intersection(written))
    endpoint.content_version = new_version() if changed else stored["content_version"]
    return changed
