"""Further connections to the test database, so that one thread can play several processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, OperationalError, connections

# A statement that waits for another actor's lock would wait for ever, because one thread plays all of them.
_NO_WAITING = {
    # And nobody here pulls the plug: thousands of commits need not wait for the disk.
    "postgresql": "SET lock_timeout = '20ms'; SET synchronous_commit = off",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 0",
    "sqlite": "PRAGMA busy_timeout = 0",
}


class Crash(BaseException):
    """The process is gone: nothing that it had in memory survives, and no handler of its own runs."""


@contextmanager
def further_connections(*aliases: str) -> Iterator[None]:
    """Aliases of the test database, each with a connection of its own that fails where it would have to wait."""
    settings = connections["default"].settings_dict
    for alias in aliases:
        connections.settings[alias] = copy.deepcopy(settings)
        _let_connect(connections[alias])
    _let_connect(connections["default"])
    never_wait("default")
    try:
        yield
    finally:
        for alias in aliases:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]
        connections["default"].close()
        del connections["default"].ensure_connection  # type: ignore[misc]


def _let_connect(connection: Any) -> None:
    def connect() -> None:
        if connection.connection is None:
            connection.connect()
            never_wait(connection.alias)

    # Django's tests allow the databases of the settings only.
    connection.ensure_connection = connect


def never_wait(alias: str) -> None:
    """From now on this connection fails where it would have to wait for a lock."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_NO_WAITING[connections[alias].vendor])


def holds_a_transaction(alias: str) -> bool:
    """Whether a transaction is open there."""
    return connections[alias].in_atomic_block


@contextmanager
def at_statement(alias: str, number: int, action: Callable[[], None]) -> Iterator[None]:
    """Do something just before the connection's statement of that number, counted from 1."""
    left = number

    def count(execute: Callable[..., Any], *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            action()
        return execute(*args)

    with connections[alias].execute_wrapper(count):
        yield


def marks_as_dialled(sql: str) -> bool:
    """Whether it is the statement that starts attempts."""
    return "UPDATE" in sql and "attempts_made" in sql and "COALESCE" in sql


@contextmanager
def held_answer(alias: str, which: Callable[[str], bool], action: Callable[[], None]) -> Iterator[None]:
    """Do something after the connection's first statement of that kind, before anybody learns of its answer."""
    left = [action]

    def hold(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        answer = execute(sql, *args)
        if left and which(sql):
            left.pop()()
        return answer

    with connections[alias].execute_wrapper(hold):
        yield
    assert not left, "There was no such statement."


@contextmanager
def lost_connection(alias: str, number: int) -> Iterator[None]:
    """From that statement on nothing gets through to the database."""
    left = number

    def refuse(execute: Callable[..., Any], *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OperationalError("the connection is lost, says the test")
        return execute(*args)

    with connections[alias].execute_wrapper(refuse):
        yield


@contextmanager
def lost_answer(alias: str, number: int) -> Iterator[None]:
    """The statement of that number is executed, but nobody learns of it; after it nothing gets through."""
    left = number

    def execute_and_break(execute: Callable[..., Any], *args: Any) -> Any:
        nonlocal left
        left -= 1
        answer = execute(*args) if left >= 0 else None
        if left <= 0:
            raise OperationalError("the connection is lost after the statement, says the test")
        return answer

    with connections[alias].execute_wrapper(execute_and_break):
        yield


@contextmanager
def lost_commit(alias: str, number: int) -> Iterator[None]:
    """The commit of that number succeeds, but nobody learns of it."""
    connection = connections[alias]
    connection.ensure_connection()
    left, commit = number, connection.commit

    def commit_and_break() -> None:
        nonlocal left
        commit()
        left -= 1
        if left == 0:
            raise OperationalError("the connection is lost after the commit, says the test")

    connection.commit = commit_and_break  # type: ignore[method-assign]
    try:
        yield
    finally:
        del connection.commit  # type: ignore[misc]


def crash() -> None:
    """End the process."""
    raise Crash


__all__ = [
    "Crash",
    "DatabaseError",
    "at_statement",
    "crash",
    "further_connections",
    "held_answer",
    "holds_a_transaction",
    "lost_answer",
    "lost_commit",
    "lost_connection",
    "marks_as_dialled",
    "never_wait",
]
