"""Encrypted columns: a masked secret text, and bytes that are encrypted if ``ENCRYPT_PAYLOADS`` is on."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, ClassVar

from django.apps import apps
from django.core import checks
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Lookup, Model
from django.utils.translation import gettext_lazy as _

from live_push import conf
from live_push.exceptions import SecretMisuse, SecretUnreadable
from live_push.rules.masking import MASKED_REPR, Masked, MaskedBytes, Secret
from live_push.rules.messages import Message

from .keyring import BYTES_KEYRING, SECRET_KEYRING, UnreadableBytes

TOKEN_PREFIX = "live_push:1:"


class _SecretAttribute:
    """Wraps each assigned value, so that no attribute has the plain text as its value."""

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
    """A secret text, encrypted at rest and bound to its row.

    ``bound_to`` names attributes of the instance whose values are encrypted together with the text. If one of them has
    another value when the secret is read, the secret is unreadable. So a token that is copied to another row gives no
    credential, and neither does an endpoint whose origin was changed.

    Assign the text (blank for none) and ``save()``. ``update()`` and lookups except ``isnull`` raise an error, because
    they can't encrypt.
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
        messages = super().check(**kwargs)
        if not self.bound_to:
            messages.append(checks.Error("An encrypted field needs bound_to.", obj=self, id="live_push.E020"))
        return messages

    def reveal(self, instance: Model) -> Masked | None:
        """Return the secret's text, or ``None`` without a secret.

        Raises :class:`~live_push.exceptions.SecretUnreadable` for a lost key, another row's secret or a changed
        binding.
        """
        secret: Secret | None = getattr(instance, self.attname)
        if secret is None or secret.token is None:
            return None if secret is None else secret.text
        place, text = secret.opened or secret.remember(self._opened(secret.token))
        if place != self._place(instance):
            raise SecretUnreadable(Message("secret_elsewhere", name=self.name))
        return text

    def text_of(self, secret: Secret) -> Masked | None:
        """Return the text of a value without a check of its binding, for comparison only.

        ``None`` if it can't be decrypted.
        """
        try:
            return self._opened(secret.token)[1] if secret.token is not None else secret.text
        except SecretUnreadable:
            return None

    @staticmethod
    def _opened(token: str) -> tuple[list[str], Masked]:
        return _unpacked(SECRET_KEYRING.decrypt(token.removeprefix(TOKEN_PREFIX).encode()))

    def _sealed(self, instance: Model, text: Masked) -> Secret:
        token = SECRET_KEYRING.encrypt(MaskedBytes(json.dumps({"place": self._place(instance), "text": text}).encode()))
        return Secret(token=TOKEN_PREFIX + token.decode())

    def _place(self, instance: Model) -> list[str]:
        return [str(getattr(instance, name)) for name in self.bound_to]

    # Between the instance and the database

    def from_db_value(self, value: str | None, *args: Any) -> Secret | None:
        return None if value is None else Secret(token=value)

    def pre_save(self, model_instance: Model, add: bool) -> Secret | None:
        secret: Secret | None = getattr(model_instance, self.attname)
        if secret is not None and secret.text is not None:
            if _is_historical(type(model_instance)):
                raise SecretMisuse(
                    f"{self.name} is a secret, which the model of a migration (apps.get_model()) can't encrypt: it "
                    "lacks what the secret is bound to. Leave the secret out there, or import the real model."
                )
            secret = self._sealed(model_instance, secret.text)
            setattr(model_instance, self.attname, secret)
        return secret

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if isinstance(value, str) or (isinstance(value, Secret) and value.token is None):
            raise SecretMisuse(f"{self.name} is a secret: assign it to an instance and save(); update() can't encrypt.")
        return super().get_db_prep_save(value, connection)

    def get_prep_value(self, value: Any) -> Any:
        # Constraints are validated before the save, with a value that has no token yet. They only test whether it is
        # null.
        return (value.token or MASKED_REPR) if isinstance(value, Secret) else value

    def get_lookup(self, lookup_name: str) -> type[Lookup[Any]] | None:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    # Between the instance and a fixture, which carries the token

    def to_python(self, value: Any) -> Any:
        return Secret(token=value) if isinstance(value, str) and value.startswith(TOKEN_PREFIX) else value

    def value_to_string(self, obj: Model) -> str:
        secret: Secret | None = getattr(obj, self.attname)
        return "" if secret is None or secret.token is None else secret.token

    # For the rotation of keys

    def is_current(self, stored: str) -> bool:
        """Return whether a stored value is encrypted with the newest key."""
        return SECRET_KEYRING.is_current(stored.removeprefix(TOKEN_PREFIX).encode())

    def rotated(self, stored: str) -> str:
        """Return the stored value under the newest key. Raises :class:`~live_push.exceptions.SecretUnreadable`."""
        return TOKEN_PREFIX + SECRET_KEYRING.rotate(stored.removeprefix(TOKEN_PREFIX).encode()).decode()


def _is_historical(model: type[Model]) -> bool:
    """Return whether a model is the state of our model in a migration, which has its columns only."""
    try:
        return apps.get_model(model._meta.label) is not model
    except LookupError:
        return False


def _unpacked(data: bytes) -> tuple[list[str], Masked]:
    """Return the binding and the text. A function of its own, so that no frame that raises holds the text unmasked."""
    stored = json.loads(data)
    return stored["place"], Masked(stored["text"])


class StoredBytesField(models.BinaryField):  # type: ignore[type-arg]
    """Bytes that are encrypted at rest if ``LIVE_PUSH["ENCRYPT_PAYLOADS"]`` is on. Reading accepts both forms.

    If the key is lost, the value is :class:`~live_push.secrets.keyring.UnreadableBytes`.
    """

    description = _("Bytes, encrypted where the site says so")
    MARK: ClassVar[bytes] = b"\x00live_push:1:"

    def from_db_value(self, value: Any, *args: Any) -> bytes | None:
        return None if value is None else self._opened(bytes(value))

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if isinstance(value, UnreadableBytes):
            raise SecretMisuse(f"{self.name} could not be decrypted and must not be overwritten.")
        if isinstance(value, bytes | memoryview):
            value = self.stored(bytes(value))
        return super().get_db_prep_value(value, connection, prepared)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return self._opened(bytes(value)) if isinstance(value, memoryview) else value

    def value_to_string(self, obj: Model) -> str:
        data = self.value_from_object(obj)
        if isinstance(data, UnreadableBytes):
            raise SecretMisuse(f"{self.name} could not be decrypted, so a fixture of it would be empty.")
        return b64encode(self.stored(bytes(data))).decode()

    def _opened(self, stored: bytes) -> bytes:
        if not stored.startswith(self.MARK):
            return stored
        try:
            return BYTES_KEYRING.decrypt(stored.removeprefix(self.MARK))
        except SecretUnreadable:
            return UnreadableBytes()

    def stored(self, data: bytes) -> bytes:
        """Return the bytes as they are stored: encrypted if ``ENCRYPT_PAYLOADS`` is on."""
        # Plain bytes that begin like a ciphertext would be read as one.
        encrypting = conf.current().ENCRYPT_PAYLOADS or data.startswith(self.MARK)
        return self.MARK + BYTES_KEYRING.encrypt(data) if encrypting else data

    # For the rotation of keys

    def is_current(self, stored: bytes) -> bool:
        """Return whether a stored value matches the settings: encrypted with the newest key, or plain."""
        if not stored.startswith(self.MARK):
            return not conf.current().ENCRYPT_PAYLOADS
        return BYTES_KEYRING.is_current(stored.removeprefix(self.MARK))

    def rotated(self, stored: bytes) -> bytes:
        """Return the stored value encrypted with the newest key.

        Raises :class:`~live_push.exceptions.SecretUnreadable`.
        """
        if not stored.startswith(self.MARK):
            return self.stored(stored)
        return self.MARK + BYTES_KEYRING.rotate(stored.removeprefix(self.MARK))
