"""The errors of live_push.

LivePushError
├── PayloadError          a profile can't be turned into the contract's body
├── SecretError
│   ├── SecretUnreadable  a stored secret can't be decrypted: wrong key, other row, other origin
│   ├── SecretMisuse      a secret column was written or read in a way that would bypass encryption
│   └── RotationRefused   a signing secret was to be rotated while the last rotation still overlaps
├── EndpointUrlError      an endpoint's URL breaks the rule (also a ValueError)
├── DestinationRefused    the address guard refused what a name resolved to
└── TierError             an award, a spending or a program that the tier rules refuse (also a ValueError)

The text of an error is English. ``live_push.rules.messages.message_of(error)`` returns it with its code and its values,
and ``live_push.rules.translation.translated(error)`` returns it in the active language.
"""

from __future__ import annotations


class LivePushError(Exception):
    """Base of all errors raised by live_push."""


class PayloadError(LivePushError):
    """A profile can't be turned into the contract's body; the sentence names the key and what was found."""


class SecretError(LivePushError):
    """Base of errors about secrets at rest. Never carries the secret."""


class SecretUnreadable(SecretError):
    """A stored secret can't be decrypted with the configured keys, for this row and this origin."""


class SecretMisuse(SecretError):
    """A secret column was written or compared in a way that would bypass its encryption."""


class RotationRefused(SecretError):
    """A signing secret can't be rotated during the overlap of the last rotation; nothing was changed."""


class EndpointUrlError(LivePushError, ValueError):
    """An endpoint's URL breaks the rule; the sentence says what was found and what to write instead."""


class DestinationRefused(LivePushError):
    """The address guard refused a destination. Never carries the resolved address."""


class TierError(LivePushError, ValueError):
    """The tier rules do not allow the operation; nothing was changed."""
