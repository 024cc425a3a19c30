"""What ``manage.py check`` says about live_push: every finding has an id and a hint that can be pasted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, router
from django.utils.module_loading import import_string

from . import conf, engines
from .models import AuthMethod, ClientEndpoint, Delivery, UserProfile
from .outbox import snapshots


@register()
def settings_are_right(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001: unknown keys, wrong types. E002: a dotted path that leads nowhere. E003: a user field that isn't there."""
    problems = conf.problems(conf.configured())
    if problems:
        return [
            Error(problem, hint="See the settings table in the README.", id="live_push.E001") for problem in problems
        ]
    found: list[CheckMessage] = [*_paths_lead_somewhere(), *_user_fields_exist()]
    return found or [*_serializer_can_be_used(), *engines.current().check()]


def _paths_lead_somewhere() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name in ("ENGINE", "TRANSPORT", "PAYLOAD_SERIALIZER", "ADMIN_BASE"):
        path = getattr(conf.current(), name)
        try:
            import_string(path)
        except Exception as error:  # noqa: BLE001  (a module may check its own settings when it is imported)
            hint = f"Install what it needs, or correct the dotted path: {error}"
            found.append(Error(f"LIVE_PUSH[{name!r}] can't be imported: {path}.", hint=hint, id="live_push.E002"))
    return found


def _serializer_can_be_used() -> list[CheckMessage]:
    """E009: no push can be built by it."""
    problem = snapshots.serializer_problem()
    if not problem:
        return []
    path = conf.current().PAYLOAD_SERIALIZER
    hint = f"Subclass live_push.contract.payload.ProfilePayload, and name columns that a profile has: {problem[:200]}"
    return [
        Error(f"LIVE_PUSH['PAYLOAD_SERIALIZER'] can't be used: {path}.", hint=hint, id="live_push.E009"),
    ]


def _user_fields_exist() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for attribute, source in conf.current().USER_FIELDS.items():
        for model, name in ((UserProfile, attribute), (get_user_model(), source)):
            try:
                model._meta.get_field(name)
            except FieldDoesNotExist:
                sentence = f"LIVE_PUSH['USER_FIELDS'] names {name!r}, which {model._meta.label} does not have."
                hint = "Set USER_FIELDS to pairs of profile attribute and user attribute that both exist."
                found.append(Error(sentence, hint=hint, id="live_push.E003"))
    return found


@register()
def http_client_has_its_seams(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: the installed HTTP client lacks what the address guard hangs on."""
    try:
        module = import_module(conf.current().TRANSPORT.rpartition(".")[0])
        # A host's own transport has none that we know of.
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
def mariadb_locks_what_it_changes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W005: in any other isolation level MariaDB also locks what is only read while something is inserted from it."""
    connection = connections[router.db_for_write(Delivery)]
    level = connection.settings_dict.get("OPTIONS", {}).get("isolation_level", "read committed")
    if connection.vendor != "mysql" or str(level).lower() == "read committed":
        return []
    return [
        Caution(
            "This MariaDB connection is not “read committed”: saves may wait for each other, or fail in a deadlock.",
            hint="DATABASES['default']['OPTIONS'] = {'isolation_level': 'read committed'}, or leave it out: "
            "that is what Django takes.",
            id="live_push.W005",
        )
    ]


@register(Tags.database)
def ids_are_captured_without_authentication(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E008: a row that form, model and constraint refuse, and that came past all three (a restored backup, say)."""
    alias = router.db_for_write(ClientEndpoint)
    if alias not in (databases or ()):
        return []
    with connections[alias].cursor() as cursor:
        # This is also asked before the first migration.
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
