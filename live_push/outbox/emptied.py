"""The columns of the log that can be emptied, and the value that each of them then gets.

Rows are emptied for three reasons. Each reason in this list empties at least the columns of the reasons above it:

``PRUNED_…``
    The body and the answers are older than their retention.
``WITHDRAWN_…``
    An operator erased what was sent and answered.
``ERASED_…``
    The member was deleted.

The rows themselves stay: the log keeps when something was sent to which endpoint, and how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

PRUNED_PUSH: Final[Mapping[str, Any]] = MappingProxyType({"payload": None})
PRUNED_ATTEMPT: Final[Mapping[str, Any]] = MappingProxyType({"answer": None})

WITHDRAWN_PUSH: Final[Mapping[str, Any]] = MappingProxyType({**PRUNED_PUSH, "digest": ""})
WITHDRAWN_ATTEMPT: Final[Mapping[str, Any]] = MappingProxyType(
    {**PRUNED_ATTEMPT, "captured_id": None, "replaced_id": None, "body_digest": "", "detail": ""}
)

# An error may quote a value of the member. A withdrawn push keeps its error, which is the reason of the failure.
ERASED_PUSH: Final[Mapping[str, Any]] = MappingProxyType({**WITHDRAWN_PUSH, "error": ""})
ERASED_ATTEMPT: Final = WITHDRAWN_ATTEMPT
