"""Encrypted columns: a secret text that never shows itself, and bytes that are encrypted where the site says so."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, ClassVar

from django.core import checks
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Lookup, Model
from django.utils.translation import gettext_lazy as _

from . import conf
from .concealed import MASK, Masked, Secret
from .encryption import SECRETS, STORED_BYTES
from .exceptions import SecretMisuse, SecretUnreadable

TOKEN_PREFIX = "live_push:1:"


class _SecretAttribute:
    """Wraps whatever is assigned, so that the text is never an attribute's value."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Model | None, owner: type[Model] | None = None) -> Any:
        if instance is None:
            return self
        if self.name not in instance.__dict__:
            instance.refresh_from_db(fields=[self.name])
        return instance.__dict__[self.name]

    def __set__(self, instance: Model, value: Any) -> None:
        if isinstance(value, str):
            value = Secret(text=value) if value else None
        instance.__dict__[self.name] = value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """A secret text, encrypted at rest and bound to its place.

    ``bound_to`` names attributes of the instance whose values are encrypted together with the text; where one differs
    when the secret is read, it is unreadable. So a token copied to another row, or an endpoint whose origin was
    changed, gives no credential. Assign text (blank for none) and ``save()``; ``update()`` and lookups but ``isnull``
    are refused, because they can't encrypt.
    """

    description = _("Encrypted text")

    def __init__(self, *args: Any, bound_to: tuple[str, ...] = (), **kwargs: Any) -> None:
        self.bound_to = bound_to
        kwargs.setdefault("null", True)
        kwargs.setdefault("blank", True)
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "bound_to": self.bound_to}

    def contribute_to_class(self, cls: type[Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, _SecretAttribute(self.attname))

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        found = super().check(**kwargs)
        if not self.bound_to:
            found.append(checks.Error("An encrypted field needs bound_to.", obj=self, id="live_push.E020"))
        return found

    def reveal(self, instance: Model) -> Masked | None:
        """The secret's text, or ``None`` where there is none.

        Raises :class:`~live_push.exceptions.SecretUnreadable` for a lost key, another row's secret or a changed
        binding.
        """
        secret: Secret | None = getattr(instance, self.attname)
        if secret is None or secret.token is None:
            return None if secret is None else secret.text
        place, text = secret.opened or secret.remember(self._opened(secret.token))
        if place != self._place(instance):
            raise SecretUnreadable(
                f"The stored {self.verbose_name} belongs to another address or another row. Enter it again."
            )
        return text

    def text_of(self, secret: Secret) -> Masked | None:
        """What a value says, wherever it is bound to; ``None`` where it can't be decrypted. Only to compare it."""
        try:
            return self._opened(secret.token)[1] if secret.token is not None else secret.text
        except SecretUnreadable:
            return None

    @staticmethod
    def _opened(token: str) -> tuple[list[str], Masked]:
        return _unpacked(SECRETS.decrypt(token.removeprefix(TOKEN_PREFIX).encode()))

    def _sealed(self, instance: Model, text: Masked) -> Secret:
        # Without a name for the bytes, which would show in a traceback.
        token = SECRETS.encrypt(json.dumps({"place": self._place(instance), "text": text}).encode())
        return Secret(token=TOKEN_PREFIX + token.decode())

    def _place(self, instance: Model) -> list[str]:
        return [str(getattr(instance, name)) for name in self.bound_to]

    # Between the instance and the database

    def from_db_value(self, value: str | None, *args: Any) -> Secret | None:
        return None if value is None else Secret(token=value)

    def pre_save(self, model_instance: Model, add: bool) -> Secret | None:
        secret: Secret | None = getattr(model_instance, self.attname)
        if secret is not None and secret.text is not None:
            secret = self._sealed(model_instance, secret.text)
            setattr(model_instance, self.attname, secret)
        return secret

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if isinstance(value, str) or (isinstance(value, Secret) and value.token is None):
            raise SecretMisuse(f"{self.name} is a secret: assign it to an instance and save(); update() can't encrypt.")
        return super().get_db_prep_save(value, connection)

    def get_prep_value(self, value: Any) -> Any:
        # A fresh one comes here when constraints are checked before the save; all they ask is whether there is one.
        return (value.token or MASK) if isinstance(value, Secret) else value

    def get_lookup(self, lookup_name: str) -> type[Lookup[Any]] | None:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    # Between the instance and a fixture, which carries the token

    def to_python(self, value: Any) -> Any:
        return Secret(token=value) if isinstance(value, str) and value.startswith(TOKEN_PREFIX) else value

    def value_to_string(self, obj: Model) -> str:
        secret: Secret | None = getattr(obj, self.attname)
        return "" if secret is None or secret.token is None else secret.token

    # What the command that rotates keys asks and does with a stored value

    def is_current(self, stored: str) -> bool:
        """Whether a stored value is encrypted with the newest key."""
        return SECRETS.is_current(stored.removeprefix(TOKEN_PREFIX).encode())

    def rotated(self, stored: str) -> str:
        """The stored value under the newest key; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        return TOKEN_PREFIX + SECRETS.rotate(stored.removeprefix(TOKEN_PREFIX).encode()).decode()


def _unpacked(data: bytes) -> tuple[list[str], Masked]:
    """The place that a text is bound to, and the text; apart, so that no frame that raises holds it unmasked."""
    stored = json.loads(data)
    return stored["place"], Masked(stored["text"])


class UnreadableBytes(bytes):
    """Stands for stored bytes that no configured key decrypts: empty, and never written back.

    A row is more than its payload: lists, pruning and other rows of the same query must go on.
    """

    WHY: ClassVar[str] = (
        "The stored payload can't be decrypted. Put the key it was encrypted with back into LIVE_PUSH['SECRET_KEYS'], "
        "or resend the current state."
    )


class StoredBytesField(models.BinaryField):  # type: ignore[type-arg]
    """Bytes that are encrypted at rest where ``LIVE_PUSH["ENCRYPT_PAYLOADS"]`` says so; reading accepts both forms.

    Where the key is lost the value is :class:`UnreadableBytes`.
    """

    description = _("Bytes, encrypted where the site says so")
    MARK: ClassVar[bytes] = b"\x00live_push:1:"

    def from_db_value(self, value: Any, *args: Any) -> bytes | None:
        return None if value is None else self._opened(bytes(value))

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if isinstance(value, UnreadableBytes):
            raise SecretMisuse(f"{self.name} could not be decrypted and must not be overwritten.")
        if isinstance(value, bytes | memoryview):
            value = self._closed(bytes(value))
        return super().get_db_prep_value(value, connection, prepared)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return self._opened(bytes(value)) if isinstance(value, memoryview) else value

    def value_to_string(self, obj: Model) -> str:
        data = self.value_from_object(obj)
        if isinstance(data, UnreadableBytes):
            raise SecretMisuse(f"{self.name} could not be decrypted, so a fixture of it would be empty.")
        return b64encode(self._closed(bytes(data))).decode()

    def _opened(self, stored: bytes) -> bytes:
        if not stored.startswith(self.MARK):
            return stored
        try:
            return STORED_BYTES.decrypt(stored.removeprefix(self.MARK))
        except SecretUnreadable:
            return UnreadableBytes()

    def _closed(self, data: bytes) -> bytes:
        # Plain bytes that begin like a ciphertext would be taken for one.
        encrypting = conf.current().ENCRYPT_PAYLOADS or data.startswith(self.MARK)
        return self.MARK + STORED_BYTES.encrypt(data) if encrypting else data

    # What the command that rotates keys asks and does with a stored value

    def is_current(self, stored: bytes) -> bool:
        """Whether a stored value is as the settings want it now: encrypted with the newest key, or plain."""
        if not stored.startswith(self.MARK):
            return not conf.current().ENCRYPT_PAYLOADS
        return STORED_BYTES.is_current(stored.removeprefix(self.MARK))

    def rotated(self, stored: bytes) -> bytes:
        """The stored value encrypted with the newest key; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        if not stored.startswith(self.MARK):
            return self._closed(stored)
        return self.MARK + STORED_BYTES.rotate(stored.removeprefix(self.MARK))
