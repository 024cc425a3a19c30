"""The outcome of an attempt. ``delivery/`` creates it, and the outbox settles it."""

from __future__ import annotations

from dataclasses import dataclass, field

from live_push.models import ClientEndpoint
from live_push.rules.result import Result, is_2xx

from .claimed_delivery import ClaimedDelivery


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one attempt.

    ``delivery``, ``endpoint``
        The rows as they were when the attempt was started.
    ``answer``
        The part of the answer that is stored: at most 8 KiB, without our secrets. ``None`` if no answer came.
    ``body_bytes``, ``body_digest``
        The length of the body that was sent, and its SHA-256 as hexadecimal text; 0 and empty if no request was made.
    """

    delivery: ClaimedDelivery
    endpoint: ClientEndpoint
    result: Result
    answer: bytes | None = field(default=None, repr=False)
    body_bytes: int = 0
    body_digest: str = ""

    @property
    def is_plain_success(self) -> bool:
        """Return whether the client has accepted the push, and no third-party id is read from the answer."""
        result = self.result
        return is_2xx(result.status_code) and not (result.error_code or self.endpoint.capture_third_party_id)
