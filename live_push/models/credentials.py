"""Since when an endpoint has had its credential: the password or the API key, of which it has one at most."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from live_push.concealed import Secret
from live_push.fields import EncryptedTextField

from .clock import db_now

if TYPE_CHECKING:
    from .endpoints import ClientEndpoint

CREDENTIALS: Final = ("password", "api_key")
DATE: Final = "credentials_changed_at"


def date(
    endpoint: ClientEndpoint, stored: Mapping[str, Secret | None], *, using: str, written: Collection[str] | None = None
) -> bool:
    """Before a save: note the moment where it stores another credential than is stored; returns whether it does.

    ``written`` are the only columns that the save writes, if not all. The same text typed or encrypted again is no
    change, so that its age stays what it is.
    """
    changed = False
    for name in CREDENTIALS:
        # What was not read is not written either.
        if name in endpoint.__dict__ and (written is None or name in written):
            field: Any = endpoint._meta.get_field(name)
            changed = changed or not _same(field, endpoint.__dict__[name], stored.get(name))
    if changed:
        holds = any(getattr(endpoint, name) is not None for name in CREDENTIALS)
        endpoint.credentials_changed_at = db_now(using) if holds else None
    return changed


def _same(field: EncryptedTextField, new: Secret | None, stored: Secret | None) -> bool:
    if new == stored or new is None or stored is None:
        return new == stored
    text = field.text_of(stored)
    return text is not None and text == field.text_of(new)
