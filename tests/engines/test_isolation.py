"""A worker's transactions run at READ COMMITTED whatever the host's option says, and conflicts are tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from live_push.engines.run import run_once, sweep
from live_push.engines.session import DatabaseSession, worker_session
from live_push.engines.worker import WorkerLoop
from live_push.models import Attempt, Delivery, UserProfile
from live_push.models.transactions import in_transaction, is_conflict, is_locked
from live_push.outbox import resend
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections
from tests.support import ScriptedTransport, status

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one isolation level only."),
]

HOST = "host"
READ_COMMITTED = {"postgresql": "read committed", "mysql": "READ-COMMITTED"}


def _levels() -> list[Any]:
    """What the host's option may say."""
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        return [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]
    return ["repeatable read", "serializable"]


@pytest.fixture(params=[0, 1], ids=["repeatable read", "serializable"])
def strict(request: pytest.FixtureRequest, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host's connection runs in a stricter isolation level."""
    options = {**connection.settings_dict["OPTIONS"], "isolation_level": _levels()[request.param]}
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        yield
        connection.close()


def level() -> str:
    """The isolation level of a transaction that begins now."""
    sql = {"postgresql": "SHOW transaction_isolation", "mysql": "SELECT @@SESSION.tx_isolation"}[connection.vendor]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


@contextmanager
def before_statement(number: int, act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Act once, before the worker's statement of that number; the context says whether there was such a one."""
    left = number

    def count(execute: Callable[..., Any], *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            act()
        return execute(*args)

    with connection.execute_wrapper(count):
        yield lambda: left <= 0


@contextmanager
def loop() -> Iterator[WorkerLoop]:
    """A worker's loop, whose steps the test takes; its clients return an id for each member."""
    made = WorkerLoop(using="default", threads=2)
    made.pipeline._sender.transport = ScriptedTransport(status(200, b'{"third_party_id": "T"}'))
    try:
        yield made
    finally:
        made.pipeline.close()
        made.transport.close()


def deliver_everything(worker: WorkerLoop) -> None:
    """Take steps until nothing is due; none may end in a back-off."""
    while Delivery.objects.live().exists():
        worker.wake()
        assert worker._run_guarded(worker._turn), "The worker backed off."


def test_saves_at_any_moment_are_no_conflict_for_the_worker(strict: None) -> None:
    ClientEndpointFactory(max_in_flight=2, capturing=True)
    ClientEndpointFactory(ordering="latest_only")
    profile = UserProfileFactory()
    conflicts: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        try:
            return execute(sql, *args)
        except DatabaseError as error:
            if is_conflict(error):
                conflicts.append(sql)
            raise

    with further_connections(HOST), connection.execute_wrapper(note), loop() as worker:

        def save() -> None:
            member = UserProfile.objects.using(HOST).get(pk=profile.pk)
            member.city = f"{member.city}."
            try:
                member.save(using=HOST)
            except DatabaseError as error:
                # While the worker holds the member's row the save would wait for it, and one thread plays both.
                if not is_locked(error):
                    raise

        number, was_reached = 0, True
        while was_reached:
            number += 1
            profile.refresh_from_db()
            profile.save()
            resend.record([profile.pk], using="default")
            with before_statement(number, save) as reached:
                deliver_everything(worker)
                was_reached = reached()
    assert number > 30
    assert conflicts == []
    assert not Delivery.objects.exclude(status__in=["succeeded", "cancelled"]).exists()


@pytest.mark.parametrize("run", [run_once, lambda using: sweep(using, engine="once")], ids=["a run", "a sweep"])
def test_a_borrowed_connection_is_given_back_as_it_was_found(run: Callable[[str], object], strict: None) -> None:
    before, borrowed = level(), connection.connection
    assert before != READ_COMMITTED[connection.vendor]
    seen: list[str] = []

    def look(execute: Callable[..., Any], *args: Any) -> Any:
        if connection.in_atomic_block and not seen:
            seen.append("")
            seen[0] = level()
        return execute(*args)

    ClientEndpointFactory()
    UserProfileFactory()
    with connection.execute_wrapper(look):
        run("default")
    assert seen == [READ_COMMITTED[connection.vendor]]
    assert (level(), connection.connection) == (before, borrowed)


def test_it_is_given_back_though_the_run_failed(strict: None) -> None:
    before = level()
    with pytest.raises(ZeroDivisionError), worker_session("default"):
        assert level() == READ_COMMITTED[connection.vendor]
        _ = 1 / 0
    assert level() == before


def test_the_level_of_the_role_or_the_server_does_not_count_either(transactional_db: None) -> None:
    variable = {"postgresql": "default_transaction_isolation", "mysql": "tx_isolation"}[connection.vendor]
    strict = {"postgresql": "serializable", "mysql": "SERIALIZABLE"}[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {variable} = %s", [strict])
    try:
        with worker_session("default"):
            assert level() == READ_COMMITTED[connection.vendor]
        assert level() == strict
    finally:
        connection.close()


def test_inside_a_transaction_of_the_caller_the_connection_is_left_alone(strict: None) -> None:
    with transaction.atomic():
        before = level()
        with worker_session("default"):
            assert level() == before


def test_a_loop_sets_up_each_connection_that_it_opens(strict: None) -> None:
    session = DatabaseSession("default")
    for _ in range(2):
        session.set_up()
        session.set_up()
        assert level() == READ_COMMITTED[connection.vendor]
        session.give_back()
        connection.close()


@pytest.mark.skipif(connection.vendor != "mysql", reason="It is about MariaDB.")
def test_a_lock_wait_timeout_of_0_does_not_keep_the_worker_from_skipping_locked_rows(
    transactional_db: None,
) -> None:
    ClientEndpointFactory(capturing=True)
    other = ClientEndpointFactory()
    profile = UserProfileFactory()
    with further_connections(HOST), transaction.atomic(using=HOST):
        list(UserProfile.objects.using(HOST).select_for_update().filter(pk=profile.pk))
        with connection.cursor() as cursor, loop() as worker:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 0")
            worker.pipeline._sender.transport = ScriptedTransport(status(200, b'{"third_party_id": "T"}'))
            while not Delivery.objects.filter(endpoint=other, status="succeeded").exists():
                worker.wake()
                assert worker._run_guarded(worker._turn)
            worker.session.give_back()
            cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
            assert cursor.fetchone() == (0,)


_FAIL = {
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'says the test' USING ERRCODE = '{}'; END $$",
    "mysql": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {}, MESSAGE_TEXT = 'says the test'",
}
_CONFLICTS = {"postgresql": ["40001", "40P01"], "mysql": [1213, 1020]}


@pytest.fixture(params=[0, 1])
def conflict(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Fails as the database does with a transaction that lost against another: a serialization failure, a deadlock."""
    code = _CONFLICTS[connection.vendor][request.param]

    def fail() -> None:
        with connection.cursor() as cursor:
            # Not counted as one of the worker's statements.
            cursor.cursor.execute(_FAIL[connection.vendor].format(code))

    return fail


class TestAConflict:
    def test_at_any_moment_is_tried_again_at_once(self, conflict: Callable[[], None], transactional_db: None) -> None:
        ClientEndpointFactory(max_in_flight=2)
        profile = UserProfileFactory()
        with loop() as worker:
            worker.session.set_up()

            def lose() -> None:
                with connection.wrap_database_errors:
                    conflict()

            number, was_reached = 0, True
            while was_reached:
                number += 1
                resend.record([profile.pk], using="default")
                profile.save()
                with before_statement(number, lose) as reached:
                    worker.wake()
                    assert worker._run_guarded(worker._turn), f"It backed off at statement {number}."
                    was_reached = reached()
                deliver_everything(worker)
        # A turn has at least as many statements. On PostgreSQL one statement writes all that follows from an outcome.
        assert number > (10 if connection.vendor == "postgresql" else 14)
        # The conflicts cost no attempt.
        assert set(Attempt.objects.values_list("error_code", flat=True)) == {""}

    def test_is_raised_after_three_more_tries(self, conflict: Callable[[], None], transactional_db: None) -> None:
        tries: list[int] = []

        def lose() -> None:
            tries.append(len(tries))
            with connection.wrap_database_errors:
                conflict()

        with pytest.raises(DatabaseError) as error:
            in_transaction(lose, using="default")
        assert is_conflict(error.value)
        assert tries == [0, 1, 2, 3]

    def test_inside_a_transaction_of_the_caller_is_not_tried_again(
        self, conflict: Callable[[], None], transactional_db: None
    ) -> None:
        tries: list[int] = []

        def lose() -> None:
            tries.append(len(tries))
            with connection.wrap_database_errors:
                conflict()

        with pytest.raises(OperationalError), transaction.atomic():
            in_transaction(lose, using="default")
        assert tries == [0]
