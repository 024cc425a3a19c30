"""Encrypt stored secrets, payloads and answers with the configured keys.

The cipher is Fernet. The newest key encrypts; every configured key decrypts, so that keys can be rotated.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from live_push import conf
from live_push.exceptions import SecretUnreadable
from live_push.rules.masking import Masked, MaskedBytes
from live_push.rules.messages import Message


@dataclass(frozen=True)
class Keyring:
    """Encrypts and decrypts for one purpose with the configured keys.

    Data that was encrypted for one purpose can't be decrypted for another one. So a person who can write to the
    database can't have a credential sent by copying its ciphertext into a payload. A token is the ciphertext, as
    URL-safe base64.
    """

    purpose: str
    unreadable: str
    """The code of the message for data that no configured key decrypts."""

    def encrypt(self, data: bytes) -> bytes:
        """Return the data encrypted with the newest key."""
        return self._fernets().all.encrypt(data)

    def decrypt(self, token: bytes) -> bytes:
        """Return the decrypted data.

        Raises :class:`~live_push.exceptions.SecretUnreadable` if none of the configured keys decrypts the token.
        """
        try:
            return self._fernets().all.decrypt(token)
        except InvalidToken:
            raise self._unreadable() from None

    def is_current(self, token: bytes) -> bool:
        """Return whether the token was encrypted with the newest key."""
        try:
            self._fernets().newest.decrypt(token)
        except InvalidToken:
            return False
        return True

    def rotate(self, token: bytes) -> bytes:
        """Return the same data encrypted with the newest key.

        Raises :class:`~live_push.exceptions.SecretUnreadable` if none of the configured keys decrypts the token.
        """
        try:
            return self._fernets().all.rotate(token)
        except InvalidToken:
            raise self._unreadable() from None

    def _fernets(self) -> _Fernets:
        return _fernets(conf.secret_keys(), self.purpose)

    def _unreadable(self) -> SecretUnreadable:
        return SecretUnreadable(Message(self.unreadable))


class UnreadableBytes(bytes):
    """Empty bytes in place of stored bytes that no configured key decrypts. They are never written back.

    Reading them raises no error, because the other columns and the other rows of the same query can still be used.
    """

    WHY: ClassVar[Message] = Message("payload_undecryptable")


SECRET_KEYRING: Final = Keyring("live_push secrets at rest", "secret_undecryptable")
"""For credentials and signing secrets."""

BYTES_KEYRING: Final = Keyring("live_push payloads and answers at rest", "payload_undecryptable")
"""For payloads and answers, if ``ENCRYPT_PAYLOADS`` is on."""


def pseudonyms(name: str) -> list[str]:
    """Return the keyed hashes of a name that must not be stored: one for each configured key, the newest first.

    Store the first hash, and search for all of them. A person without a key can't find out the name, not even by trying
    names. After a key is removed from the settings, the hashes made with it are not found any more.
    """
    return [
        hmac.digest(_derive(key, _PSEUDONYM_PURPOSE), name.encode(), hashlib.sha256).hex() for key in conf.secret_keys()
    ]


_PSEUDONYM_PURPOSE: Final = "live_push deleted members"


class _Fernets(NamedTuple):
    newest: Fernet
    all: MultiFernet


@lru_cache(maxsize=8)
def _fernets(keys: tuple[Masked, ...], purpose: str) -> _Fernets:
    fernets = [Fernet(urlsafe_b64encode(_derive(key, purpose))) for key in keys]
    return _Fernets(fernets[0], MultiFernet(fernets))


def _derive(key: Masked, purpose: str) -> bytes:
    # HKDF (RFC 5869) derives a key of the right length from any text, and a different one for each purpose.
    hkdf = HKDF(SHA256(), length=32, salt=None, info=purpose.encode())
    return MaskedBytes(hkdf.derive(MaskedBytes(key.encode(errors="surrogateescape"))))
