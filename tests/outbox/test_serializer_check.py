"""What is wrong with a project's payload serializer is reported before the first push fails."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.checks import CheckMessage
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, transaction
from django.test import override_settings

from live_push import checks
from live_push.contract.payload import ProfilePayload
from live_push.engines.worker import WorkerLoop
from live_push.exceptions import PayloadError
from live_push.management.commands import live_push_worker
from live_push.models import Delivery, UserProfile
from live_push.outbox import serializer_check
from live_push.rules.messages import TEMPLATES
from live_push.testing.https_server import EndpointServer
from tests.engines.processes import ROOT, running
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.readme import snippets
from tests.support import statements

pytestmark = pytest.mark.django_db

ON_ALL_DATABASES = pytest.mark.django_db(transaction=True, databases="__all__")
"""From Django 6.1 on, the checks of a command ask every database for its features."""

SECRET = "ada@example.com"


def path(serializer: type) -> str:
    return f"{serializer.__module__}.{serializer.__name__}"


def found(serializer: type | str, *, databases: list[str] | None = None) -> list[CheckMessage]:
    """What the checks say of a serializer, as ``manage.py check --database default`` runs them."""
    name = serializer if isinstance(serializer, str) else path(serializer)
    with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": name}):
        return [
            *checks.settings_are_right(None),
            *checks.serializer_builds_the_body(None, databases=["default"] if databases is None else databases),
        ]


class Plain(ProfilePayload):
    """Changes nothing."""


class WithOwnData(ProfilePayload):
    columns = ("user__email", "user__date_joined__year", "user__groups__name", "user__is_staff", "user", "city")

    def snapshot(self, row: Any) -> dict[str, Any]:
        own = {"year": row["user__date_joined__year"] + 1, "group": row["user__groups__name"].upper()}
        return super().snapshot({**row, "email_address": row["user__email"], "custom_data": own})


class EveryColumn(ProfilePayload):
    """Reads all that a row of the database has."""

    def snapshot(self, row: Any) -> dict[str, Any]:
        assert {field.attname for field in UserProfile._meta.concrete_fields} <= row.keys()
        return super().snapshot(row)


@lru_cache
def groups() -> list[str]:
    return list(Group.objects.values_list("name", flat=True))


class Caching(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        groups()
        return super().snapshot(row)


@pytest.fixture(autouse=True)
def _no_group_is_cached() -> None:
    groups.cache_clear()
    groups_of.cache_clear()


@pytest.mark.parametrize("serializer", [ProfilePayload, Plain, WithOwnData, EveryColumn, Caching])
def test_a_serializer_that_keeps_the_contract_is_right(serializer: type) -> None:
    assert found(serializer) == []


def changed(**values: Any) -> Any:
    """A ``snapshot()`` that puts these values into the body."""

    def snapshot(self: ProfilePayload, row: Any) -> dict[str, Any]:
        return {**ProfilePayload.snapshot(self, row), **values}

    return snapshot


class AddingKeys(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        body = super().snapshot(row)
        tier = {**body["tierInfo"], "rank": 1, "currentLevel": {**body["tierInfo"]["currentLevel"], "colour": "red"}}
        return {**body, "favouriteTeam": "Sturm", "tierInfo": tier}


class AddingAKeyAndMore(ProfilePayload):
    snapshot = changed(favouriteTeam="Sturm", country=7)


class AddingManyKeys(ProfilePayload):
    snapshot = changed(**{f"key{number}": number for number in range(30)})


class AddingALongKey(ProfilePayload):
    snapshot = changed(**{"x" * 1000: 1})


class TextId(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return {**super().snapshot(row), "id": str(row["id"])}


class TextIdInTheRow(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return super().snapshot({**row, "id": str(row["id"])})


class NullId(ProfilePayload):
    snapshot = changed(id=None)


class BooleanFlag(ProfilePayload):
    snapshot = changed(isActive=True)


class PasswordSender(ProfilePayload):
    snapshot = changed(password="secret")


class NestedData(ProfilePayload):
    snapshot = changed(customData={"address": {"city": "Graz"}})


class HalfACharacter(ProfilePayload):
    snapshot = changed(city="\ud800")


class LackingAKey(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        body = super().snapshot(row)
        del body["city"]
        return body


class AnotherOrder(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return dict(sorted(super().snapshot(row).items()))


class NoObject(ProfilePayload):
    def snapshot(self, row: Any) -> Any:
        return [super().snapshot(row)]


class ForgettingToReturn(ProfilePayload):
    def snapshot(self, row: Any) -> Any:
        super().snapshot(row)


class Raising(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        raise ValueError(SECRET)


class RaisingOurs(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        raise PayloadError(SECRET)


class ReadingAColumnItDoesNotName(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return super().snapshot({**row, "email_address": row["user__email"]})


class NoSerializer:
    columns = ()


class MissingColumns(ProfilePayload):
    columns = ("city", "user__nickname", "shoe_size", "user__email")


class ColumnsAsText(ProfilePayload):
    columns = "user__email"  # type: ignore[assignment]


class UnmadeOne(ProfilePayload):
    def __init__(self) -> None:
        raise RuntimeError("boom")


class QueryingTwice(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        Group.objects.filter(user=row["id"]).exists()
        with transaction.atomic():
            Group.objects.filter(user=row["id"]).count()
        return super().snapshot(row)


class QueryingOnce(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        Group.objects.count()
        return {**super().snapshot(row), "groups": 1}


@lru_cache
def groups_of(member: int) -> int:
    return Group.objects.filter(user=member).count()


class CachingByMember(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return super().snapshot({**row, "custom_data": {"groups": groups_of(row["id"])}})


class NeedingARow(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        return {**super().snapshot(row), "city": Group.objects.get(pk=row["id"]).name}


class SummingRows(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        group = Group.objects.filter(pk=row["id"]).first()
        return {**super().snapshot(row), "totalPoints": group and group.pk}


class MissingTable(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM shop_loyalty")
        return super().snapshot(row)


class TakingAnEventFromAColumn(ProfilePayload):
    columns = ("user__last_name",)

    def snapshot(self, row: Any) -> dict[str, Any]:
        body = super().snapshot(row)
        return {**body, "tierInfo": {**body["tierInfo"], "assignedByEvent": row["user__last_name"]}}


class TakingADecimalFromAColumn(ProfilePayload):
    columns = ("user__last_name",)

    def snapshot(self, row: Any) -> dict[str, Any]:
        return {**super().snapshot(row), "totalPoints": float(row["user__last_name"])}


class ParsingAColumn(ProfilePayload):
    columns = ("user__email",)

    def snapshot(self, row: Any) -> dict[str, Any]:
        raise ValueError(SECRET)


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [
        (AddingKeys, ["E013: adds 'favouriteTeam', 'tierInfo.rank', 'tierInfo.currentLevel.colour' to the body."]),
        (AddingAKeyAndMore, ["E013: adds 'favouriteTeam' to the body.", "E014: country must be text; found int."]),
        (AddingManyKeys, ["E013: 'key8', 'key9' and 20 more to the body."]),
        (AddingALongKey, [f"E013: adds '{'x' * 60}' to the body."]),
        (TextId, ["E014: id must be a whole number; found str."]),
        (TextIdInTheRow, ["E014: id must be a whole number; found str."]),
        (NullId, ["E014: id must not be null."]),
        (BooleanFlag, ["E014: isActive must be a whole number; found bool."]),
        (PasswordSender, ["E014: password must be null; found str."]),
        (NestedData, ["E014: customData must hold texts, numbers, booleans and nulls only; found dict."]),
        (HalfACharacter, ["E014: city holds half a character (a lone surrogate)."]),
        (LackingAKey, ["E014: The body lacks city."]),
        (AnotherOrder, ["E014: The body must keep the published order of its keys."]),
        (NoObject, ["E014: The body must be an object; found list."]),
        (ForgettingToReturn, ["E014: The body must be an object; found null."]),
        (Raising, [f"E015: raised ValueError for a synthetic member, at {__file__}:"]),
        (RaisingOurs, ["E015: raised PayloadError for a synthetic member"]),
        (ReadingAColumnItDoesNotName, ["E015: raised KeyError for a synthetic member"]),
        (NoSerializer, ["E015: raised AttributeError for a synthetic member"]),
        (MissingColumns, ["E009: no profile has the column 'user__nickname', 'shoe_size'."]),
        (ColumnsAsText, ["E009: its columns are a text instead of a tuple."]),
        (UnmadeOne, ["E009: RuntimeError: boom."]),
        (QueryingTwice, ["W007: makes 2 database queries for each member."]),
        (QueryingOnce, ["W007: makes 1 database query for each member.", "E013: adds 'groups' to the body."]),
        (CachingByMember, ["W007: makes 1 database query for each member."]),
        (NeedingARow, ["W008: raised DoesNotExist for a synthetic member"]),
        (SummingRows, ["W007: makes 1 database query", "W008: totalPoints must not be null."]),
        (MissingTable, ["W008: Error for a synthetic member"]),
        (TakingAnEventFromAColumn, ["W008: tierInfo.assignedByEvent must be one of"]),
        (TakingADecimalFromAColumn, ["E014: totalPoints must be a whole number; found float."]),
        (ParsingAColumn, ["W008: raised ValueError for a synthetic member"]),
    ],
)
def test_a_faulty_serializer_is_told_from_what_it_does(serializer: type, expected: list[str]) -> None:
    findings = found(serializer)
    assert [str(finding.id)[-4:] for finding in findings] == [sentence[:4] for sentence in expected]
    for finding, sentence in zip(findings, expected, strict=True):
        assert sentence[6:] in finding.msg
        assert path(serializer) in finding.msg
        assert finding.obj == "LIVE_PUSH['PAYLOAD_SERIALIZER']"
        assert finding.hint
        assert SECRET not in str(finding)


def test_each_kind_of_finding_gives_the_rule_and_the_next_step() -> None:
    (unknown,) = found(AddingKeys)
    assert "The contract allows no further keys" in unknown.msg
    assert "customData" in str(unknown.hint)
    (wrong,) = found(TextId)
    assert "live_push_contract" in str(wrong.hint)
    (queries,) = found(QueryingTwice)
    assert "columns = ('user__email',)" in str(queries.hint)
    (missing,) = found(MissingTable)
    assert "manage.py migrate" in str(missing.hint)


def test_the_hint_shows_the_whole_error_of_a_serializer_that_raises() -> None:
    (finding,) = found(Raising)
    line = str(finding.hint).partition("whole error: ")[2]
    with pytest.raises(ValueError, match=SECRET):
        exec(line, {})  # noqa: S102


class Writing(ProfilePayload):
    def snapshot(self, row: Any) -> dict[str, Any]:
        Group.objects.create(name=f"written for {row['id']}")
        transaction.on_commit(lambda: Group.objects.create(name="after the commit"))
        return super().snapshot(row)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("serializer", [Writing, TextId, Raising])
def test_nothing_is_written_and_no_member_is_needed(serializer: type) -> None:
    ClientEndpointFactory()
    assert found(serializer) != []
    assert (Group.objects.count(), UserProfile.objects.count(), Delivery.objects.count()) == (0, 0, 0)


def test_faults_of_values_are_sentences_that_exist() -> None:
    assert TEMPLATES.keys() >= serializer_check._FAULTS_OF_VALUES


def test_our_own_serializer_costs_no_query() -> None:
    assert statements(lambda: found(ProfilePayload)) == []


def test_without_a_database_no_body_is_built() -> None:
    assert found(AddingKeys, databases=[]) == []
    assert [finding.id for finding in found(MissingColumns, databases=[])] == ["live_push.E009"]


def test_wrong_settings_are_told_by_their_own_check() -> None:
    with override_settings(LIVE_PUSH={"ENGIN": 1}):
        assert checks.serializer_builds_the_body(None, databases=["default"]) == []


def test_what_the_check_refuses_fails_as_a_push_too() -> None:
    ClientEndpointFactory()
    with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": path(TextId)}):
        UserProfileFactory()
    assert Delivery.objects.get().push.error == "id must be a whole number; found str."


def test_the_command_names_the_unknown_key() -> None:
    with (
        override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": path(AddingKeys)}),
        pytest.raises(SystemCheckError, match=r"live_push\.E013.*'favouriteTeam'"),
    ):
        call_command("check", databases=["default"])


def test_before_the_first_migration_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserProfile._meta, "db_table", "not_there_yet")
    assert found(AddingKeys) == []


def test_the_documented_serializer_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    (code,) = [snippet.code for snippet in snippets("docs/members.md", "python") if "OurPayload" in snippet.code]
    exec(code, names)  # noqa: S102
    monkeypatch.setattr(sys.modules[__name__], "OurPayload", names["OurPayload"], raising=False)
    assert found(f"{__name__}.OurPayload") == []


def test_every_finding_is_documented() -> None:
    made = re.findall(r'id="(live_push\.\w+)"', inspect.getsource(serializer_check))
    documented = re.findall(r"^\| `(live_push\.\w+)`", (ROOT / "docs/members.md").read_text(), re.MULTILINE)
    assert sorted(made) == documented


def run(
    *arguments: str, serializer: type, settings: Mapping[str, Any] | None = None, **environment: str
) -> tuple[int, str]:
    """Run a command in a process of its own; returns its exit code and what it wrote to stderr."""
    live_push = {**(settings or {}), "PAYLOAD_SERIALIZER": path(serializer)}
    with running("django", *arguments, live_push=live_push, stderr=subprocess.PIPE, **environment) as process:
        _, error = process.communicate(timeout=120)
    return process.returncode, error.decode()


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[str]:
    """The name of a database without a table."""
    if connection.vendor == "sqlite":
        yield str(tmp_path / "empty.sqlite3")
        return
    name = f"{connection.settings_dict['NAME']}_empty"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {connection.ops.quote_name(name)}")
        cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)}")
    try:
        yield name
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {connection.ops.quote_name(name)}")


def test_a_project_migrates_for_the_first_time_with_a_faulty_serializer(empty_database: str) -> None:
    def run_there(*arguments: str) -> tuple[int, str]:
        return run(*arguments, serializer=AddingKeys, LIVE_PUSH_TEST_DATABASE=empty_database)

    assert run_there("check", "--database", "default") == (0, "")
    assert run_there("migrate", "--verbosity", "0") == (0, "")
    code, error = run_there("check", "--database", "default")
    assert (code, "live_push.E013" in error) == (1, True)


class TestTheStartOfAWorker:
    @pytest.fixture(autouse=True)
    def _stops_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WorkerLoop, "_turn", WorkerLoop.stop)

    def start(self, serializer: type | str, caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
        """Run a worker that ends after its first turn; returns what it logs."""
        name = serializer if isinstance(serializer, str) else path(serializer)
        with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": name}), caplog.at_level(logging.WARNING):
            WorkerLoop(using="default", threads=1).run()
        return [(record.levelno, record.getMessage()) for record in caplog.records]

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        ("serializer", "level", "sentence"),
        [
            (AddingKeys, logging.ERROR, "'favouriteTeam'"),
            (TextId, logging.ERROR, "id must be a whole number; found str."),
            (Raising, logging.ERROR, "raised ValueError"),
            (MissingColumns, logging.ERROR, "'user__nickname'"),
            ("nowhere.Serializer", logging.ERROR, "ModuleNotFoundError"),
            (QueryingTwice, logging.WARNING, "makes 2 database queries"),
        ],
    )
    def test_logs_the_findings_and_goes_on(
        self, serializer: type | str, level: int, sentence: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        ((logged, message),) = self.start(serializer, caplog)
        assert (logged, sentence in message, SECRET in message) == (level, True, False)

    @pytest.mark.django_db(transaction=True)
    def test_logs_nothing_about_a_serializer_that_is_right(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.start(WithOwnData, caplog) == []

    @pytest.mark.django_db(transaction=True)
    def test_logs_no_finding_that_the_project_silenced(self, caplog: pytest.LogCaptureFixture) -> None:
        with override_settings(SILENCED_SYSTEM_CHECKS=["live_push.W007"]):
            assert self.start(QueryingTwice, caplog) == []

    @pytest.mark.django_db(transaction=True)
    def test_is_not_stopped_by_a_database_that_fails(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**kwargs: Any) -> list[CheckMessage]:
            raise OSError(SECRET)

        monkeypatch.setattr(serializer_check, "serializer_findings", broken)
        assert self.start(AddingKeys, caplog) == [
            (logging.WARNING, "The payload serializer could not be checked: OSError.")
        ]

    @ON_ALL_DATABASES
    @pytest.mark.parametrize("serializer", [path(MissingColumns), "nowhere.Serializer"])
    def test_is_not_stopped_by_the_checks_of_the_command(
        self, serializer: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": serializer}):
            live_push_worker.Command().check()
        assert serializer in capsys.readouterr().err

    @pytest.mark.django_db(transaction=True)
    def test_sends_what_was_stored_before(self) -> None:
        with EndpointServer() as client:
            ClientEndpointFactory(url=client.url)
            UserProfileFactory()
            code, error = run("live_push_worker", "--once", serializer=MissingColumns, settings=client.settings)
            assert (code, "live_push.E009" in error, len(client.received)) == (0, True, 1)
        assert Delivery.objects.get().status == "succeeded"

    @ON_ALL_DATABASES
    @pytest.mark.parametrize(
        "values", [{"ENGIN": 1}, {"PAYLOAD_SERIALIZER": path(MissingColumns), "CA_BUNDLE": "/nowhere"}]
    )
    def test_is_stopped_by_every_other_error(self, values: dict[str, Any]) -> None:
        with override_settings(LIVE_PUSH=values), pytest.raises(SystemCheckError):
            live_push_worker.Command().check()
