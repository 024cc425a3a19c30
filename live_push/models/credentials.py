"""The credentials and signing secrets of an endpoint: their columns, how they are read, and what is wrong with them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from live_push.contract import headers
from live_push.exceptions import SecretUnreadable
from live_push.rules.masking import Masked, Secret
from live_push.rules.messages import Message, message_of
from live_push.rules.translation import validation_error
from live_push.secrets.fields import EncryptedTextField

from .clock import db_now
from .column_types import EncryptedText

CREDENTIALS: Final = ("password", "api_key")
"""The credentials. An endpoint uses at most one of them, depending on its authentication."""

SECRET_COLUMNS: Final = frozenset({*CREDENTIALS, "signing_secret", "previous_signing_secret"})

DECIDE_CREDENTIALS: Final = SECRET_COLUMNS | {"uid", "url", "auth_method", "username"}
"""The columns that decide whether the endpoint's secrets can be read."""


class AuthMethod(models.TextChoices):
    """How requests to an endpoint are authenticated."""

    NONE = "none", _("no authentication")
    BASIC = "basic", _("Basic: user name and password")
    API_KEY = "api_key", _("API key in the header x-api-key")


class EndpointCredentials(models.Model):
    """The part of an endpoint that holds its secrets.

    Secrets are write-only: assign a text, and it is encrypted when the row is saved. :meth:`reveal` decrypts; only the
    code that makes requests calls it.
    """

    # Set in Python and not by the database, because secrets are bound to it before the row is inserted.
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    auth_method = models.CharField(
        _("authentication"), max_length=10, choices=AuthMethod.choices, default=AuthMethod.NONE
    )
    username = models.CharField(_("user name"), max_length=255, blank=True, default="")
    password: EncryptedText = EncryptedTextField(_("password"), bound_to=("uid", "origin"))
    api_key: EncryptedText = EncryptedTextField(_("API key"), bound_to=("uid", "origin"))
    # When the password or the API key was stored. Null if neither is stored, or if the time is not known.
    credentials_changed_at = models.DateTimeField(null=True, blank=True, editable=False)
    signing_secret: EncryptedText = EncryptedTextField(_("signing secret"), bound_to=("uid",))
    previous_signing_secret: EncryptedText = EncryptedTextField(_("previous signing secret"), bound_to=("uid",))
    previous_signing_secret_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def reveal(self, name: str) -> Masked | None:
        """Decrypt a secret column; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        field: EncryptedTextField = self._meta.get_field(name)  # type: ignore[assignment]
        return field.reveal(self)

    def auth(self) -> headers.Auth:
        """Return the credentials for a request; raises :class:`~live_push.exceptions.SecretUnreadable`."""
        if self.auth_method == AuthMethod.BASIC:
            return headers.Auth.basic(self.username, self.reveal("password") or "")
        if self.auth_method == AuthMethod.API_KEY:
            key = self.reveal("api_key")
            if key is None:
                raise SecretUnreadable(Message("api_key_missing"))
            return headers.Auth.api_key(key)
        return headers.Auth.none()

    def signing_secrets(self, at: datetime) -> list[str]:
        """Return the secrets that sign a request made then, the newest first: none, one, or two during a rotation."""
        secrets = [self.reveal("signing_secret")]
        if self.previous_signing_secret_until is not None and at < self.previous_signing_secret_until:
            secrets.append(self.reveal("previous_signing_secret"))
        return [secret for secret in secrets if secret]

    def forget_decrypted(self) -> None:
        """Let the next use of each stored secret decrypt it again, with the keys that are configured by then."""
        for name in SECRET_COLUMNS:
            if (secret := getattr(self, name)) is not None:
                secret.forget()

    def credentials_problem(self) -> Message | str:
        """Return why the secrets can't be read, as a message for operators; empty if they can be read."""
        try:
            self.auth()
            self.reveal("signing_secret")
            self.reveal("previous_signing_secret")
        except SecretUnreadable as error:
            return message_of(error)
        except ValueError:
            # The secrets can be read but not sent. The log says why at each attempt.
            return ""
        return ""

    def login_problems(self, *, must_be_readable: bool) -> dict[str, Any]:
        """Return what is wrong with authentication and credentials, by field name.

        Secrets that can't be read are a problem only if they ``must_be_readable``: an operator who lost a key must be
        able to switch the endpoint off.
        """
        problems: dict[str, Any] = {}
        basic, api_key = self.auth_method == AuthMethod.BASIC, self.auth_method == AuthMethod.API_KEY
        if not basic and (self.username or self.password is not None):
            problems["auth_method"] = _(
                "User name and password are set, but the method is not Basic. Clear them, or choose Basic."
            )
        elif not api_key and self.api_key is not None:
            problems["auth_method"] = _(
                "An API key is set, but the method is not API key. Clear it, or choose API key."
            )
        elif basic and not self.username:
            problems["auth_method"] = _("Basic needs a user name. Enter the one that the client gave.")
        try:
            if basic:
                headers.check_basic(self.username, self.reveal("password") or "")
            elif api_key:
                headers.check_api_key(self.reveal("api_key") or "")
        except SecretUnreadable as error:
            if must_be_readable:
                problems["auth_method"] = validation_error(message_of(error))
        except ValueError as error:
            problems.setdefault("auth_method", validation_error(message_of(error)))
        return problems

    def date_credentials(
        self, stored: Mapping[str, Secret | None], *, using: str, written: Collection[str] = CREDENTIALS
    ) -> bool:
        """Set ``credentials_changed_at`` if a save stores a different credential; return whether it does.

        ``stored`` are the credentials in the database, ``written`` the columns that the save writes. It is not a change
        if the same text is entered or encrypted again.
        """
        changed = any(
            not _same(self._meta.get_field(name), self.__dict__[name], stored.get(name))
            for name in CREDENTIALS
            if name in written
        )
        if changed:
            has_one = any(getattr(self, name) is not None for name in CREDENTIALS)
            self.credentials_changed_at = db_now(using) if has_one else None
        return changed


def _same(field: Any, new: Secret | None, stored: Secret | None) -> bool:
    if new == stored or new is None or stored is None:
        return new == stored
    text = field.text_of(stored)
    return text is not None and text == field.text_of(new)
