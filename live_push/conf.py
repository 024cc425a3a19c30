"""The ``LIVE_PUSH`` setting: names, types, units, defaults.

Every use reads Django's settings and checks them. ``override_settings`` therefore works, and a wrong value stops every
process, including a WSGI process, which never runs ``manage.py check``.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from operator import is_
from types import MappingProxyType
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from .rules.masking import Masked

USER_FIELDS = {
    "email_address": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "user_name": "username",
    "is_active": "is_active",
    "date_last_login": "last_login",
}


MOST_DAYS = 36_525
"""A century: practically unlimited, and the calendar still has the date."""

LEAST_KEY_CHARACTERS = 16


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_days(value: Any) -> bool:
    return _is_whole(value) and value <= MOST_DAYS


def _is_wait(value: Any) -> bool:
    return value is not False and (value == 0 or (_is_number(value) and value <= MOST_DAYS * 86_400))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_networks(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_text(item) and _is_network(item) for item in value)


@lru_cache(maxsize=256)
def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_ports(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple) and all(_is_whole(port) and 0 < port < 65536 for port in value)
    )


def _is_keys(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple)
        and len(value) > 0
        # Blanks around a key do not make it longer.
        and all(isinstance(key, str) and len(key.strip()) >= LEAST_KEY_CHARACTERS for key in value)
    )


def _is_policies(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and isinstance(waits, list | tuple) and len(waits) > 0 and all(map(_is_wait, waits))
        for name, waits in value.items()
    )


def _is_names(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_text(key) and _is_text(name) for key, name in value.items())


def _or_none(rule: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or rule(value)


def _setting(default: Any, kind: str, rule: Callable[[object], bool], meaning: str, *, is_secret: bool = False) -> Any:
    metadata = {"kind": kind, "rule": rule, "meaning": meaning}
    if isinstance(default, dict | list):
        return field(default_factory=default.copy, metadata=metadata)
    # A secret stays out of tracebacks that show local variables.
    return field(default=default, metadata=metadata, repr=not is_secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked values of ``LIVE_PUSH``; one attribute per key."""

    ENGINE: str = _setting(
        "live_push.engines.worker.WorkerEngine", "a dotted path", _is_text, "dotted path of the engine"
    )
    AUTOSTART_WORKER: bool | None = _setting(
        None,
        "True, False or None",
        _or_none(_is_flag),
        "run the worker in a thread of the web process; `None` means the same as `DEBUG`",
    )
    SECRET_KEYS: Sequence[str] | None = _setting(
        None,
        f"a list of one or more texts of at least {LEAST_KEY_CHARACTERS} characters",
        _is_keys,
        "keys for secrets at rest, newest first; `None` derives them from `SECRET_KEY` and `SECRET_KEY_FALLBACKS`",
        is_secret=True,
    )
    CONNECT_TIMEOUT_SECONDS: float = _setting(
        5, "a number above 0", _is_number, "time to connect to one address, per attempt"
    )
    TOTAL_TIMEOUT_SECONDS: float = _setting(
        15, "a number above 0", _is_number, "wall-clock time of one attempt, reading the answer included"
    )
    ALLOWED_PRIVATE_NETWORKS: Sequence[str] = _setting(
        [],
        "a list of CIDR networks",
        _is_networks,
        "networks the address guard lets through although they are not public; "
        "link-local and cloud metadata addresses are refused even then",
    )
    EXTRA_BLOCKED_NETWORKS: Sequence[str] = _setting(
        [], "a list of CIDR networks", _is_networks, "networks refused in addition"
    )
    ALLOWED_PORTS: Sequence[int] | None = _setting(
        [443, 8443],
        "a list of ports, or None",
        _is_ports,
        "ports an endpoint may name; `None` for any",
    )
    CA_BUNDLE: str | None = _setting(
        None,
        "a path, or None",
        _or_none(_is_text),
        "path of a file with the root certificates of private authorities, in addition to the public ones; "
        "verification itself can't be switched off",
    )
    TRANSPORT: str = _setting(
        "live_push.delivery.transport.RequestsTransport",
        "a dotted path",
        _is_text,
        "dotted path of the transport: bytes in, result out",
    )
    PAYLOAD_SERIALIZER: str = _setting(
        "live_push.contract.payload.ProfilePayload",
        "a dotted path",
        _is_text,
        "dotted path of the payload serializer; subclass ours to feed keys from elsewhere",
    )
    RETRY_POLICIES: Mapping[str, Sequence[float]] = _setting(
        {}, "a dictionary of lists of seconds", _is_policies, "extra named retry policies: lists of waits in seconds"
    )
    USER_FIELDS: Mapping[str, str] = _setting(
        USER_FIELDS,
        "a dictionary from profile attribute to user attribute",
        _is_names,
        "profile attributes that follow the linked auth user; a save of the user that changes one pushes the profile",
    )
    ENCRYPT_PAYLOADS: bool = _setting(
        False, "True or False", _is_flag, "store payloads and answers encrypted with `SECRET_KEYS`"
    )
    ADMIN_BASE: str = _setting(
        "django.contrib.admin.ModelAdmin", "a dotted path", _is_text, "base class of the admin pages"
    )
    NOTIFY_WORKERS: bool = _setting(
        True,
        "True or False",
        _is_flag,
        "on PostgreSQL, let the recording of a push notify sleeping workers (`NOTIFY`); `False` if the project uses "
        "two-phase commit",
    )
    RETENTION_SUCCEEDED_DAYS: int = _setting(
        7, f"a whole number of at most {MOST_DAYS}", _is_days, "days that `live_push_prune` keeps succeeded deliveries"
    )
    RETENTION_FAILED_DAYS: int = _setting(
        90,
        f"a whole number of at most {MOST_DAYS}",
        _is_days,
        "days that `live_push_prune` keeps failed and cancelled deliveries",
    )
    RETENTION_SUCCEEDED_BODIES_DAYS: int | None = _setting(
        None,
        f"a whole number of at most {MOST_DAYS}, or None",
        _or_none(_is_days),
        "days that it keeps the bodies and answers of succeeded deliveries; `None` keeps them as long as their rows",
    )
    RETENTION_FAILED_BODIES_DAYS: int | None = _setting(
        None,
        f"a whole number of at most {MOST_DAYS}, or None",
        _or_none(_is_days),
        "the same of failed and cancelled deliveries, which can't be redelivered without",
    )


_KNOWN = {item.name: item for item in fields(Settings)}


def configured() -> object:
    """Return the unchecked value of ``LIVE_PUSH``; an empty dictionary if it is not set."""
    return getattr(django_settings, "LIVE_PUSH", {})


def problems(raw: object) -> list[str]:
    """Return a sentence for each fault in a value of ``LIVE_PUSH``."""
    if not isinstance(raw, Mapping):
        return [f"LIVE_PUSH is {type(raw).__name__}; it must be a dictionary."]
    sentences = []
    for name, value in raw.items():
        if name not in _KNOWN:
            sentences.append(f"LIVE_PUSH has the unknown key {name!r}. Known keys: {', '.join(_KNOWN)}.")
        elif not _KNOWN[name].metadata["rule"](value):
            sentences.append(
                f"LIVE_PUSH[{name!r}] must be {_KNOWN[name].metadata['kind']}; found {_shown(name, value)}."
            )
    return sentences


def _shown(name: str, value: object) -> str:
    # The sentence does not repeat keys. A text instead of a list is the most common mistake, and the type shows it.
    return type(value).__name__ if name == "SECRET_KEYS" else f"{type(value).__name__} {value!r}"


def current() -> Settings:
    """Return the settings in force now.

    Raises :class:`~django.core.exceptions.ImproperlyConfigured` for an unknown key and for a wrong value. One wrong
    value stops everything. Otherwise the rest would run with a setting that its author did not intend.
    """
    # The dictionary gets no name here: it holds keys, and an error report shows the variables of this frame.
    global _checked
    if (settings := _checked.settings_if_unchanged()) is not None:
        return settings
    if sentences := problems(configured()):
        raise ImproperlyConfigured(" ".join(sentences))
    # A new object, because another thread may be comparing the old one.
    _checked = _Checked(dict(getattr(django_settings, "LIVE_PUSH", {})))
    return _checked.settings


class _Checked:
    """A checked value of ``LIVE_PUSH``. Each save and each request asks for the settings several times."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        # All callers get the same object, so the defaults must not be changed in place.
        defaults = {name: _read_only(value) for name, value in _MUTABLE_DEFAULTS.items() if name not in values}
        self.settings = replace(Settings(**values), **defaults)

    def settings_if_unchanged(self) -> Settings | None:
        """Return the settings if ``LIVE_PUSH`` still has the same keys with the same objects."""
        raw = configured()
        if not isinstance(raw, dict) or raw.keys() != self.values.keys():
            return None
        # Compare objects: 1 equals True, but is not a correct value of a flag.
        return self.settings if all(map(is_, raw.values(), self.values.values())) else None


def _read_only(value: Any) -> Any:
    return MappingProxyType(value) if isinstance(value, dict) else tuple(value)


_MUTABLE_DEFAULTS = {name: value for name, value in vars(Settings()).items() if isinstance(value, dict | list)}
_checked = _Checked({})


def admin_base() -> str:
    """Return ``ADMIN_BASE``, or its default if the settings are wrong.

    The admin is imported before ``manage.py check`` runs. The check lists every fault with its hint; an import error
    would hide that list.
    """
    return Settings().ADMIN_BASE if problems(configured()) else current().ADMIN_BASE


def project_key_problems() -> list[str]:
    """Return a sentence for each fault in ``SECRET_KEY_FALLBACKS``, which is used if ``SECRET_KEYS`` is not set."""
    kind = type(django_settings.SECRET_KEY_FALLBACKS)
    if not issubclass(kind, list | tuple):
        return [f"SECRET_KEY_FALLBACKS must be a list of texts; found {kind.__name__}."]
    return [
        f"SECRET_KEY_FALLBACKS[{place}] must be a text that is not empty; found {type(key).__name__}."
        for place, key in enumerate(django_settings.SECRET_KEY_FALLBACKS)
        if not (isinstance(key, str | bytes) and key)
    ]


def secret_keys() -> tuple[Masked, ...]:
    """Return the keys for secrets at rest, newest first.

    Raises :class:`~django.core.exceptions.ImproperlyConfigured` for keys that can be guessed, such as ``None`` from an
    unset environment variable, or the single characters of a text that replaces a list.
    """
    settings = current()
    if settings.SECRET_KEYS is not None:
        return tuple(map(_masked, settings.SECRET_KEYS))
    if sentences := project_key_problems():
        raise ImproperlyConfigured(" ".join(sentences))
    return tuple(map(_masked, [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]))


def _masked(key: str | bytes) -> Masked:
    # Django takes bytes as SECRET_KEY too. Surrogate escapes turn any bytes into text and back.
    return Masked(key.decode(errors="surrogateescape") if isinstance(key, bytes) else key)
