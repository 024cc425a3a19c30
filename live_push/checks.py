"""The system checks of live_push. Every message has an id and a hint that can be pasted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, TextField
from django.utils.module_loading import import_string

from . import conf, engines
from .delivery import tls
from .models import AuthMethod, ClientEndpoint, Delivery, UserProfile, linked_user
from .outbox import serializer_check


@register()
def settings_are_right(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001: unknown keys, wrong types. E002: a dotted path that leads nowhere. E003: an unknown user field."""
    problems = conf.problems(conf.configured())
    if not problems and conf.current().SECRET_KEYS is None:
        problems = conf.project_key_problems()
    if problems:
        return [
            Error(problem, hint="See the settings table in the README.", id="live_push.E001") for problem in problems
        ]
    findings: list[CheckMessage] = [*_paths_lead_somewhere(), *_user_fields_exist(), *_bundle_can_be_used()]
    return findings or [*serializer_check.unusable_serializer(), *_user_fields_fit(), *engines.current_engine().check()]


def _paths_lead_somewhere() -> list[CheckMessage]:
    findings: list[CheckMessage] = []
    for name in ("ENGINE", "TRANSPORT", "PAYLOAD_SERIALIZER", "ADMIN_BASE"):
        path = getattr(conf.current(), name)
        try:
            import_string(path)
        except Exception as error:  # noqa: BLE001  (a module may check its own settings when it is imported)
            hint = f"Install what it needs, or correct the dotted path: {error}"
            sentence = f"LIVE_PUSH[{name!r}] can't be imported: {path}."
            findings.append(Error(sentence, hint=hint, obj=f"LIVE_PUSH[{name!r}]", id="live_push.E002"))
    return findings


def _bundle_can_be_used() -> list[CheckMessage]:
    """E012: every push would fail, or every push to a client of that authority."""
    bundle = conf.current().CA_BUNDLE
    problem, remedy = tls.bundle_problem(bundle) if bundle is not None else ("", "")
    return [Error(problem, hint=remedy, id="live_push.E012")] if problem else []


def _user_fields_exist() -> list[CheckMessage]:
    findings: list[CheckMessage] = []
    for attribute, source in conf.current().USER_FIELDS.items():
        for model, name in ((UserProfile, attribute), (get_user_model(), source)):
            if name not in {field.name for field in model._meta.concrete_fields}:
                sentence = f"LIVE_PUSH['USER_FIELDS'] names {name!r}, which {model._meta.label} does not have."
                hint = "Set USER_FIELDS to pairs of profile attribute and user attribute that both exist."
                findings.append(Error(sentence, hint=hint, id="live_push.E003"))
    return findings


def _user_fields_fit() -> list[CheckMessage]:
    """W006: the user's texts may be longer than the member's."""
    findings: list[CheckMessage] = []
    followed = conf.current().USER_FIELDS
    for attribute, source in followed.items():
        ours: Any = UserProfile._meta.get_field(attribute)
        theirs: Any = get_user_model()._meta.get_field(source)
        # A TextField's max_length is a rule of its form only.
        most = theirs.max_length if isinstance(theirs, CharField) else None
        is_text = isinstance(ours, CharField) and isinstance(theirs, CharField | TextField)
        if is_text and (most is None or most > (ours.max_length or most)):
            what = "cut" if attribute in linked_user.CUT_IF_TOO_LONG else "stored as null"
            others = {name: followed[name] for name in followed if name != attribute}
            sentence = (
                f"{theirs.model._meta.label}.{source} holds {most or 'any number of'} characters and a profile's "
                f"{attribute} {ours.max_length}: what is longer is {what}."
            )
            hint = f"Shorten the user's, or do not follow it: LIVE_PUSH = {{'USER_FIELDS': {others}}}"
            findings.append(Caution(sentence, hint=hint, id="live_push.W006"))
    return findings


@register()
def moments_are_utc(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E010: naive datetimes. E011: a database whose stored times are not UTC.

    Due times and leases are compared with the database's UTC clock, and the contract sends instants.
    """
    if not settings.USE_TZ:
        return [
            Error(
                "USE_TZ is off: every save of a profile, or every delivery, would fail.",
                hint="USE_TZ = True",
                id="live_push.E010",
            )
        ]
    alias = router.db_for_write(Delivery)
    connection = connections[alias]
    if connection.features.supports_timezones or connection.timezone_name == "UTC":
        return []
    return [
        Error(
            f"DATABASES[{alias!r}]['TIME_ZONE'] is {connection.timezone_name!r}: this database would hold local times, "
            "and deliveries would be sent hours early or late.",
            hint=f"DATABASES[{alias!r}]['TIME_ZONE'] = None",
            id="live_push.E011",
        )
    ]


@register()
def http_client_has_its_seams(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: the installed HTTP client lacks a method that the address guard needs."""
    try:
        module = import_module(conf.current().TRANSPORT.rpartition(".")[0])
        # The requirements of a host's own transport are not known.
        missing: list[str] = getattr(module, "missing_seams", list)()
    except Exception:  # noqa: BLE001  (E001 and E002 tell)
        return []
    return [
        Error(
            f"The installed HTTP client lacks {name}, which the address guard relies on.",
            hint="Install versions that the package's metadata allows: pip install --upgrade live-push.",
            id="live_push.E004",
        )
        for name in missing
    ]


@register(Tags.database)
def outbox_is_in_the_profiles_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E005: a router that splits profile and outbox makes "in the same transaction" impossible."""
    if router.db_for_write(UserProfile) == router.db_for_write(Delivery):
        return []
    return [
        Error(
            "A database router puts profiles and deliveries into different databases.",
            hint="Route the whole app 'live_push' to one database: one transaction must hold both.",
            id="live_push.E005",
        )
    ]


@register(Tags.database)
def sqlite_waits_its_turn(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W001: SQLite without WAL, immediate transactions and a timeout raises "database is locked" under load."""
    alias = router.db_for_write(Delivery)
    connection = connections[alias]
    if alias not in (databases or ()) or connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return []
    options = connection.settings_dict.get("OPTIONS", {})
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (journal_mode,) = cursor.fetchone()
    if (
        str(options.get("transaction_mode", "")).upper() == "IMMEDIATE"
        and journal_mode == "wal"
        and options.get("timeout", 5) >= 5
    ):
        return []
    return [
        Caution(
            "This SQLite database may raise “database is locked” when web process and worker write at once.",
            hint=(
                "DATABASES['default']['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', 'timeout': 20, "
                "'init_command': 'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL'}"
            ),
            id="live_push.W001",
        )
    ]


@register()
def saves_are_read_committed(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W005: in a stricter isolation level, two saves at the same time may fail or block each other.

    Workers use "read committed" independently of the project's settings.
    """
    connection = connections[router.db_for_write(Delivery)]
    level = _isolation_level(connection)
    if level == "read committed":
        return []
    if connection.vendor == "mysql":
        sentence = "Saves may wait for each other, or fail in a deadlock: MariaDB also locks rows that are only read."
        hint = "DATABASES['default']['OPTIONS'] = {'isolation_level': 'read committed'}, or leave the option out."
    else:
        sentence = "Two saves of one member at the same time may fail with a serialization error (SQLSTATE 40001)."
        hint = "Leave the option out of DATABASES['default']['OPTIONS'], or repeat transactions that fail so."
    return [Caution(f"The isolation level is “{level}”. {sentence}", hint=hint, id="live_push.W005")]


def _isolation_level(connection: BaseDatabaseWrapper) -> str:
    """Return the level of the project's settings. Without one, it is taken to be read committed."""
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor == "mysql":
        level = options.get("isolation_level", "read committed")
        return "the server's own" if level is None else str(level).lower()
    if connection.vendor == "postgresql":
        # An enum whose numbers depend on the driver, or a parameter of the server.
        if "isolation_level" in options:
            from django.db.backends.postgresql.psycopg_any import IsolationLevel

            # Django itself rejects other values.
            names = {level.value: level.name for level in IsolationLevel}
            return names.get(options["isolation_level"], "read committed").replace("_", " ").lower()
        for level in ("repeatable read", "serializable"):
            given = str(options.get("options", "")).replace("\\", "").replace("_", " ").lower()
            if f"default transaction isolation={level}" in given:
                return level
    return "read committed"


@register(Tags.database)
def ids_are_captured_without_authentication(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E008: a row that form, model and constraint do not allow, for example from a restored backup."""
    alias = router.db_for_write(ClientEndpoint)
    if alias not in (databases or ()):
        return []
    with connections[alias].cursor() as cursor:
        # The check also runs before the first migration.
        if ClientEndpoint._meta.db_table not in connections[alias].introspection.table_names(cursor):
            return []
    rows = ClientEndpoint.objects.using(alias).filter(capture_third_party_id=True).exclude(auth_method=AuthMethod.NONE)
    return [
        Error(
            f"Endpoint {name!r} synchronizes the third-party ID although it logs in.",
            hint="Switch one of them off in the admin: synchronization is available without authentication only.",
            id="live_push.E008",
        )
        for name in rows.values_list("name", flat=True)
    ]


@register(Tags.database)
def serializer_builds_the_body(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E013 to E015, W007, W008: what the bodies of synthetic members show about the project's payload serializer."""
    alias = router.db_for_write(UserProfile)
    # E001 reports wrong settings, E002 and E009 a serializer that can't be used.
    if alias not in (databases or ()) or conf.problems(conf.configured()):
        return []
    return serializer_check.serializer_findings(using=alias)


@register(Tags.security, deploy=True)
def secrets_have_keys_of_their_own(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W002: derived keys make every rotation of SECRET_KEY a rotation of all stored credentials."""
    if conf.problems(conf.configured()) or conf.current().SECRET_KEYS:
        return []
    return [
        Caution(
            "Stored credentials are encrypted with a key derived from SECRET_KEY.",
            hint="Set LIVE_PUSH = {'SECRET_KEYS': ['a long random text', SECRET_KEY]}, run "
            "`manage.py live_push_rotate_keys`, then remove SECRET_KEY from the list.",
            id="live_push.W002",
        )
    ]
