"""Encryption at rest: Fernet with every configured key, the newest first."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.utils.encoding import force_bytes

from . import conf
from .exceptions import SecretUnreadable


@dataclass(frozen=True)
class Keyring:
    """The configured keys, for one purpose.

    What was encrypted for one purpose can't be decrypted for another: whoever can write to the database must not get a
    credential sent by copying its token into a payload. Tokens are URL-safe base64 text as bytes.
    """

    purpose: str
    otherwise: str
    """What to do where the key is gone for good."""

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt with the newest key."""
        return self._fernets().all.encrypt(data)

    def decrypt(self, token: bytes) -> bytes:
        """Decrypt with whichever key fits; raises :class:`~live_push.exceptions.SecretUnreadable` where none does."""
        try:
            return self._fernets().all.decrypt(token)
        except InvalidToken:
            raise self._unreadable() from None

    def is_current(self, token: bytes) -> bool:
        """Whether the newest key decrypts the token."""
        try:
            self._fernets().newest.decrypt(token)
        except InvalidToken:
            return False
        return True

    def rotate(self, token: bytes) -> bytes:
        """The same content under the newest key; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        try:
            return self._fernets().all.rotate(token)
        except InvalidToken:
            raise self._unreadable() from None

    def _fernets(self) -> _Fernets:
        return _fernets(conf.secret_keys(), self.purpose)

    def _unreadable(self) -> SecretUnreadable:
        return SecretUnreadable(
            "None of the configured keys decrypts this. Put the key it was encrypted with back into "
            f'LIVE_PUSH["SECRET_KEYS"], or SECRET_KEY_FALLBACKS where none are set; or {self.otherwise}.'
        )


SECRETS: Final = Keyring("live_push secrets at rest", "enter the secret again")
STORED_BYTES: Final = Keyring("live_push payloads and answers at rest", "resend the current state")


def pseudonyms(name: str) -> list[str]:
    """What stands for a name that must not stay: its keyed hash, with each configured key, the newest first.

    Who has neither key nor name learns nothing; a key that is taken away takes what was written with it along.
    """
    return [
        hmac.digest(_derive(force_bytes(key), _PSEUDONYMS), name.encode(), hashlib.sha256).hex()
        for key in conf.secret_keys()
    ]


_PSEUDONYMS: Final = "live_push deleted members"


class _Fernets(NamedTuple):
    newest: Fernet
    all: MultiFernet


@lru_cache(maxsize=8)
def _fernets(keys: tuple[str | bytes, ...], purpose: str) -> _Fernets:
    fernets = [Fernet(urlsafe_b64encode(_derive(force_bytes(key), purpose))) for key in keys]
    return _Fernets(fernets[0], MultiFernet(fernets))


def _derive(key: bytes, purpose: str) -> bytes:
    # RFC 5869: any text becomes a key of the right length, one for each purpose, and SECRET_KEY itself is not used.
    return HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(key)
