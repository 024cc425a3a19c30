"""The ``LIVE_PUSH`` setting: names, types, units, defaults.

Read live from Django's settings at every use, so that ``override_settings`` works.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

USER_FIELDS = {
    "email_address": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "user_name": "username",
    "is_active": "is_active",
    "date_last_login": "last_login",
}


MOST_DAYS = 36_525
"""A century: as good as for ever, and a date that the calendar has."""


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
    try:
        return isinstance(value, list | tuple) and all(_is_text(item) and ipaddress.ip_network(item) for item in value)
    except ValueError:
        return False


def _is_ports(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple) and all(_is_whole(port) and 0 < port < 65536 for port in value)
    )


def _is_keys(value: object) -> bool:
    return value is None or (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(key, str) and len(key) >= 16 for key in value)
    )


def _is_policies(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and isinstance(waits, list | tuple) and len(waits) > 0 and all(map(_is_wait, waits))
        for name, waits in value.items()
    )


def _is_names(value: object) -> bool:
    return isinstance(value, dict) and all(_is_text(key) and _is_text(name) for key, name in value.items())


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
    SECRET_KEYS: list[str] | None = _setting(
        None,
        "a list of texts of at least 16 characters",
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
    ALLOWED_PRIVATE_NETWORKS: list[str] = _setting(
        [],
        "a list of CIDR networks",
        _is_networks,
        "networks the address guard lets through although they are not public; "
        "link-local and cloud metadata addresses are refused even then",
    )
    EXTRA_BLOCKED_NETWORKS: list[str] = _setting(
        [], "a list of CIDR networks", _is_networks, "networks refused in addition"
    )
    ALLOWED_PORTS: list[int] | None = _setting(
        [443, 8443],
        "a list of ports, or None",
        _is_ports,
        "ports an endpoint may name; `None` for any",
    )
    CA_BUNDLE: str | None = _setting(
        None,
        "a path, or None",
        _or_none(_is_text),
        "path of a CA bundle for private certificate authorities, in addition to the public ones; "
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
    RETRY_POLICIES: dict[str, list[float]] = _setting(
        {}, "a dictionary of lists of seconds", _is_policies, "extra named retry policies: lists of waits in seconds"
    )
    USER_FIELDS: dict[str, str] = _setting(
        USER_FIELDS,
        "a dictionary from profile attribute to user attribute",
        _is_names,
        "profile attributes that follow the linked auth user; saving the user pushes its profile",
    )
    ENCRYPT_PAYLOADS: bool = _setting(
        False, "True or False", _is_flag, "store payloads and answers encrypted with `SECRET_KEYS`"
    )
    ADMIN_BASE: str = _setting(
        "django.contrib.admin.ModelAdmin", "a dotted path", _is_text, "base class of the admin pages"
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


def configured() -> object:
    """The value of ``LIVE_PUSH`` as it stands, unchecked; an empty dictionary where there is none."""
    return getattr(django_settings, "LIVE_PUSH", {})


def problems(raw: object) -> list[str]:
    """Sentences about what is wrong with a value of ``LIVE_PUSH``; empty where it is right."""
    if not isinstance(raw, Mapping):
        return [f"LIVE_PUSH is {type(raw).__name__}; it must be a dictionary."]
    known = {item.name: item for item in fields(Settings)}
    found = []
    for name, value in raw.items():
        if name not in known:
            found.append(f"LIVE_PUSH has the unknown key {name!r}. Known keys: {', '.join(known)}.")
        elif not known[name].metadata["rule"](value):
            # The value itself stays out: it may be a key.
            found.append(
                f"LIVE_PUSH[{name!r}] must be {known[name].metadata['kind']}; found {type(value).__name__}"
                f"{'' if name == 'SECRET_KEYS' else f' {value!r}'}."
            )
    return found


def current() -> Settings:
    """The settings in force now.

    Raises :class:`~django.core.exceptions.ImproperlyConfigured` for an unknown key.
    """
    # Without a name for the dictionary: it holds keys, and this frame may end up in an error report.
    try:
        return Settings(**getattr(django_settings, "LIVE_PUSH", {}))
    except TypeError:
        raise ImproperlyConfigured(" ".join(problems(getattr(django_settings, "LIVE_PUSH", {})))) from None


def secret_keys() -> tuple[str, ...]:
    """The keys for secrets at rest, newest first."""
    keys = current().SECRET_KEYS
    return tuple(keys or [django_settings.SECRET_KEY, *map(str, django_settings.SECRET_KEY_FALLBACKS)])
