"""What ``manage.py check`` says: each finding is shown to come, and not to come."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import certifi
import pytest
from django.contrib.auth import get_user_model
from django.core import checks as django_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.db.models import CharField, EmailField, TextField, UUIDField
from django.test import override_settings

from live_push import checks, engines
from live_push.delivery import transport
from live_push.engines import Engine
from live_push.models import ClientEndpoint
from live_push.outbox import serializer_check
from live_push.testing.certificate_authority import CertificateAuthority
from tests.conftest import need
from tests.factories import ClientEndpointFactory
from tests.faults import Intermediate

ROOT = Path(__file__).parents[1]


def ids(found: list[django_checks.CheckMessage]) -> list[str]:
    return [str(message.id) for message in found]


def with_settings(**values: Any) -> list[str]:
    """The ids that the check of the settings finds with these."""
    with override_settings(LIVE_PUSH=values):
        return ids(checks.settings_are_right(None))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param({}, [], id="the defaults are right"),
        pytest.param({"ENGIN": "x"}, ["live_push.E001"], id="an unknown key"),
        pytest.param({"ALLOWED_PORTS": 443, "ENGINE": 1}, ["live_push.E001"] * 2, id="wrong types, each told"),
        pytest.param({"ENGINE": "nowhere.Engine"}, ["live_push.E002"], id="an engine that leads nowhere"),
        pytest.param({"ENGINE": "live_push.engines.worker.Missing"}, ["live_push.E002"], id="a class that isn't there"),
        pytest.param({"TRANSPORT": "nowhere"}, ["live_push.E002"], id="a transport that leads nowhere"),
        pytest.param({"PAYLOAD_SERIALIZER": "a.b"}, ["live_push.E002"], id="a serializer that leads nowhere"),
        pytest.param(
            {"PAYLOAD_SERIALIZER": "tests.outbox.test_record.UnreadableSerializer"},
            ["live_push.E009"],
            id="a serializer of columns that no profile has",
        ),
        pytest.param({"PAYLOAD_SERIALIZER": "builtins.dict"}, ["live_push.E009"], id="a serializer that is none"),
        pytest.param({"ADMIN_BASE": "unfolded.admin.ModelAdmin"}, ["live_push.E002"], id="an admin that leads nowhere"),
        pytest.param({"ENGINE": "tests.broken_module.Engine"}, ["live_push.E002"], id="a module that raises"),
        pytest.param({"USER_FIELDS": {"first_name": "first_name"}}, [], id="user fields that exist"),
        pytest.param({"USER_FIELDS": {"firstName": "first_name"}}, ["live_push.E003"], id="no such profile attribute"),
        pytest.param({"USER_FIELDS": {"first_name": "given"}}, ["live_push.E003"], id="no such user attribute"),
        pytest.param({"USER_FIELDS": {"first_name": "groups"}}, ["live_push.E003"], id="a relation of the user"),
        pytest.param({"USER_FIELDS": {"pushes": "first_name"}}, ["live_push.E003"], id="a relation of the profile"),
        pytest.param({"ENGINE": "nowhere.Engine", "ENGIN": 1}, ["live_push.E001"], id="first things first"),
    ],
)
def test_the_settings_are_judged(values: dict[str, Any], found: list[str]) -> None:
    assert with_settings(**values) == found


def intermediate_alone() -> bytes:
    return Intermediate(CertificateAuthority("a root")).pem


def intermediate_and_root() -> bytes:
    root = CertificateAuthority("a root")
    return Intermediate(root).pem + root.pem


def key_alone() -> bytes:
    return CertificateAuthority().issue(["localhost"]).partition(b"-----END CERTIFICATE-----\n")[2]


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        pytest.param(None, "No such file or directory", "root certificates in PEM form", id="missing"),
        pytest.param(b"", "no certificate in PEM form", "root certificates in PEM form", id="empty"),
        pytest.param(b"nonsense", "no certificate in PEM form", "root certificates in PEM form", id="nonsense"),
        pytest.param(key_alone(), "no certificate in PEM form", "root certificates in PEM form", id="a key"),
        pytest.param(intermediate_alone(), "lacks a root", "Add the certificate of a root", id="an intermediate alone"),
        pytest.param(intermediate_and_root(), "", "", id="an intermediate and its root"),
        pytest.param(CertificateAuthority().pem, "", "", id="a root"),
        pytest.param(Path(certifi.where()).read_bytes(), "", "", id="the public roots"),
    ],
)
def test_a_bundle_that_cannot_be_used_is_named(content: bytes | None, reason: str, remedy: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with override_settings(LIVE_PUSH={"CA_BUNDLE": str(bundle)}):
        found = checks.settings_are_right(None)
    assert ids(found) == (["live_push.E012"] if reason else [])
    assert all(str(bundle) in message.msg and reason in message.msg for message in found)
    assert all(remedy in str(message.hint) for message in found)


def test_a_folder_is_not_a_bundle(tmp_path: Path) -> None:
    assert with_settings(CA_BUNDLE=str(tmp_path)) == ["live_push.E012"]


@pytest.mark.django_db
def test_check_itself_refuses_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    bundle = str(tmp_path / "gone.pem")
    with override_settings(LIVE_PUSH={"CA_BUNDLE": bundle}), pytest.raises(SystemCheckError, match=re.escape(bundle)):
        call_command("check", databases=["default"])


@pytest.mark.parametrize(
    ("attribute", "theirs", "most", "told"),
    [
        pytest.param("first_name", CharField(max_length=255), 255, None, id="as long as ours"),
        pytest.param("first_name", CharField(max_length=300), 300, "is cut", id="a longer name"),
        pytest.param("email_address", EmailField(max_length=320), 320, "is stored as null", id="a longer address"),
        pytest.param("user_name", TextField(max_length=20), None, "is stored as null", id="a text without an end"),
        pytest.param("user_name", UUIDField(), None, None, id="no text at all"),
        pytest.param("custom_data", TextField(), None, None, id="not a text of ours"),
    ],
)
def test_a_users_text_that_is_longer_than_the_members_is_told(
    attribute: str, theirs: Any, most: int | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = get_user_model()._meta.get_field("first_name")
    theirs.set_attributes_from_name("first_name")
    theirs.model = source.model
    fields = {"first_name": theirs}
    get_field = get_user_model()._meta.get_field
    monkeypatch.setattr(get_user_model()._meta, "get_field", lambda name: fields.get(name) or get_field(name))
    with override_settings(LIVE_PUSH={"USER_FIELDS": {attribute: "first_name", "last_name": "last_name"}}):
        found = checks.settings_are_right(None)
    assert ids(found) == ([] if told is None else ["live_push.W006"])
    for message in found:
        assert told is not None
        assert told in message.msg
        assert str(most or "any number") in message.msg
        assert message.hint is not None
        assert message.hint.endswith("LIVE_PUSH = {'USER_FIELDS': {'last_name': 'last_name'}}")


class ComplainingEngine(Engine):
    def check(self) -> list[django_checks.CheckMessage]:
        return [django_checks.Error("It is not well.", hint="Mend it.", id="shop.E042")]


def test_the_engine_in_force_is_asked_too() -> None:
    assert with_settings(ENGINE="tests.test_checks.ComplainingEngine") == ["shop.E042"]
    engines.base._load.cache_clear()


@pytest.mark.parametrize("uses_time_zones", [True, False])
def test_a_project_without_time_zones_is_refused(*, uses_time_zones: bool) -> None:
    with override_settings(USE_TZ=uses_time_zones):
        found = checks.moments_are_utc(None)
    assert [(message.id, message.hint) for message in found] == (
        [] if uses_time_zones else [("live_push.E010", "USE_TZ = True")]
    )


@pytest.mark.django_db
def test_check_itself_refuses_a_project_without_time_zones() -> None:
    with override_settings(USE_TZ=False), pytest.raises(SystemCheckError, match=r"live_push\.E010"):
        call_command("check", databases=["default"])


def test_a_database_that_keeps_local_times_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.features, "supports_timezones", False)
    assert checks.moments_are_utc(None) == []
    monkeypatch.setattr(connection, "timezone_name", "Europe/Vienna")
    (message,) = checks.moments_are_utc(None)
    assert (message.id, message.hint) == ("live_push.E011", "DATABASES['default']['TIME_ZONE'] = None")


def test_a_database_that_knows_time_zones_may_have_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.features, "supports_timezones", True)
    monkeypatch.setattr(connection, "timezone_name", "Europe/Vienna")
    assert checks.moments_are_utc(None) == []


def test_the_installed_http_client_has_its_seams() -> None:
    assert checks.http_client_has_its_seams(None) == []


def test_an_http_client_without_them_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "missing_seams", lambda: ["HTTPSConnection._new_conn"])
    (message,) = checks.http_client_has_its_seams(None)
    assert (message.id, "_new_conn" in message.msg) == ("live_push.E004", True)


@pytest.mark.parametrize("path", ["shop.of.nobody.Transport", "tests.support.ScriptedTransport", 5, "x"])
def test_a_transport_that_is_not_ours_has_no_seams_of_ours(path: object) -> None:
    with override_settings(LIVE_PUSH={"TRANSPORT": path}):
        assert checks.http_client_has_its_seams(None) == []


def test_the_transport_in_force_is_the_one_whose_client_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("pycurl.PREREQFUNCTION")
    with override_settings(LIVE_PUSH={"TRANSPORT": "live_push.delivery.fast.FastTransport"}):
        (message,) = checks.http_client_has_its_seams(None)
    assert "pycurl.PREREQFUNCTION" in message.msg
    assert checks.http_client_has_its_seams(None) == []


class SplittingRouter:
    """Puts the log elsewhere, as a host might think is a good idea."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "logs" if model.__name__ == "Delivery" else None


def test_one_database_for_profile_and_outbox_is_right() -> None:
    assert checks.outbox_is_in_the_profiles_database(None) == []


def test_a_router_that_splits_them_is_an_error() -> None:
    with override_settings(DATABASE_ROUTERS=["tests.test_checks.SplittingRouter"]):
        assert ids(checks.outbox_is_in_the_profiles_database(None)) == ["live_push.E005"]


@pytest.mark.parametrize(
    ("vendor", "options", "found"),
    [
        pytest.param("mysql", {}, [], id="what Django takes"),
        pytest.param("mysql", {"isolation_level": "READ COMMITTED"}, [], id="read committed"),
        pytest.param("mysql", {"isolation_level": "repeatable read"}, ["live_push.W005"], id="repeatable read"),
        pytest.param("mysql", {"isolation_level": None}, ["live_push.W005"], id="what the server takes"),
        pytest.param("postgresql", {}, [], id="PostgreSQL: what the server takes"),
        pytest.param("postgresql", {"isolation_level": 2}, [], id="PostgreSQL: read committed"),
        pytest.param("postgresql", {"isolation_level": 3}, ["live_push.W005"], id="PostgreSQL: repeatable read"),
        pytest.param("postgresql", {"isolation_level": 4}, ["live_push.W005"], id="PostgreSQL: serializable"),
        pytest.param(
            "postgresql",
            {"options": "-c statement_timeout=9 -c default_transaction_isolation=repeatable\\ read"},
            ["live_push.W005"],
            id="PostgreSQL: as a parameter of the server",
        ),
        pytest.param("sqlite", {"isolation_level": "IMMEDIATE"}, [], id="a database without levels"),
    ],
)
def test_another_isolation_level_is_told(
    vendor: str, options: dict[str, Any], found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if vendor == "postgresql":
        # Its numbers of the levels are the ones below.
        need(find_spec("psycopg"), "Install psycopg.")
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ids(checks.saves_are_read_committed(None)) == found


@pytest.fixture
def sqlite(db: None) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("It is about SQLite, on which the suite runs too.")


@pytest.mark.usefixtures("sqlite")
def test_sqlite_as_documented_is_right() -> None:
    assert checks.sqlite_waits_its_turn(None, databases=["default"]) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"transaction_mode": None}, id="deferred transactions"),
        pytest.param({"timeout": 4}, id="an impatient timeout"),
    ],
)
@pytest.mark.usefixtures("sqlite")
def test_sqlite_that_does_not_wait_is_a_warning(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**connection.settings_dict["OPTIONS"], **change}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    (message,) = checks.sqlite_waits_its_turn(None, databases=["default"])
    assert (message.id, "journal_mode=WAL" in (message.hint or "")) == ("live_push.W001", True)


@pytest.mark.usefixtures("sqlite")
def test_a_database_that_nobody_asked_about_is_left_alone() -> None:
    assert checks.sqlite_waits_its_turn(None, databases=[]) == []
    assert checks.sqlite_waits_its_turn(None, databases=None) == []


@pytest.mark.django_db
def test_other_databases_need_no_such_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    assert checks.sqlite_waits_its_turn(None, databases=["default"]) == []


@contextmanager
def without_check_constraints() -> Iterator[None]:
    """As a restored backup may bring rows in."""
    table = connection.ops.quote_name(ClientEndpoint._meta.db_table)
    off, on = {
        "sqlite": ("PRAGMA ignore_check_constraints=ON", "PRAGMA ignore_check_constraints=OFF"),
        "mysql": ("SET SESSION check_constraint_checks=0", "SET SESSION check_constraint_checks=1"),
        # It ends with the test's transaction.
        "postgresql": (f"ALTER TABLE {table} DROP CONSTRAINT live_push_capture_without_auth", "SELECT 1"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(off)
        try:
            yield
        finally:
            cursor.execute(on)


@pytest.mark.django_db
def test_ids_captured_in_spite_of_a_login_are_an_error() -> None:
    ClientEndpointFactory(name="right", capturing=True)
    wrong = ClientEndpointFactory(name="wrong", api_key_auth=True, is_active=False)
    assert checks.ids_are_captured_without_authentication(None, databases=["default"]) == []

    with without_check_constraints():
        ClientEndpoint.objects.filter(pk=wrong.pk).update(capture_third_party_id=True)

    (message,) = checks.ids_are_captured_without_authentication(None, databases=["default"])
    assert (message.id, "'wrong'" in message.msg) == ("live_push.E008", True)
    assert checks.ids_are_captured_without_authentication(None, databases=None) == []


@pytest.mark.django_db
def test_before_the_first_migration_no_endpoint_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientEndpoint._meta, "db_table", "not_there_yet")
    assert checks.ids_are_captured_without_authentication(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param({}, ["live_push.W002"], id="keys derived from the project's"),
        pytest.param({"SECRET_KEYS": ["a key of its own"]}, [], id="keys of its own"),
        pytest.param({"ENGIN": 1}, [], id="what can't be read is told elsewhere"),
    ],
)
def test_keys_are_judged_at_deployment(values: dict[str, Any], found: list[str]) -> None:
    with override_settings(LIVE_PUSH=values):
        assert ids(checks.secrets_have_keys_of_their_own(None)) == found


# From Django 6.1 on the command looks at every database unless some are named.
@pytest.mark.django_db
@pytest.mark.parametrize(("arguments", "told"), [((), False), (("--deploy",), True)], ids=["daily", "at deployment"])
def test_check_itself_tells_it(arguments: tuple[str, ...], told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(LIVE_PUSH={}):
        # What else may be wrong with a project of tests is not our matter.
        call_command("check", *arguments, databases=["default"], fail_level="CRITICAL")
    assert ("live_push.W002" in capsys.readouterr().err) == told


@pytest.mark.django_db
def test_check_itself_refuses_an_unknown_key() -> None:
    with override_settings(LIVE_PUSH={"ENGIN": 1}), pytest.raises(SystemCheckError, match=r"live_push\.E001"):
        call_command("check", databases=["default"])


def test_every_finding_has_an_id_of_its_own_and_a_hint() -> None:
    sources = [
        *map(inspect.getsource, (checks, serializer_check)),
        *(path.read_text() for path in (ROOT / "live_push/engines").glob("*.py")),
    ]
    made = re.findall(r"(?:Error|Caution)\((.*?)\bid=\"(live_push\.[EW]\d{3})\"", "".join(sources), re.DOTALL)
    assert sorted(id_ for _, id_ in made) == [
        *(f"live_push.E{number:03}" for number in range(1, 16)),
        *(f"live_push.W00{number}" for number in range(1, 9)),
    ]
    assert all("hint=" in arguments for arguments, _ in made)
