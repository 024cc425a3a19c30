"""Transactions and row locks: lock rows, skip locked ones, recognize lock errors, retry, and act after the commit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from django.db import DatabaseError, connections, transaction
from django.db.models import Model, QuerySet

from .databases import written_to

M = TypeVar("M", bound=Model)
T = TypeVar("T")

RETRIES: Final = 3

MOST_WAIT_MS: Final = 50
"""How long a statement inside :func:`impatient` waits for a lock on PostgreSQL; on MariaDB it does not wait."""

_LOCKED: Final = frozenset({"55P03", 1205, 3572})
_CONFLICT: Final = frozenset({"40001", "40P01", 1020, 1213})


def locked(rows: QuerySet[M], *, skip_locked: bool = False) -> QuerySet[M]:
    """Return the rows, locked until the transaction ends.

    If the database supports it, the lock still lets other transactions insert rows that refer to these rows. SQLite
    locks the whole database for each writing transaction. ``skip_locked`` leaves out the rows that other transactions
    hold. A database that can't do this raises at once an error for which :func:`is_locked` returns true.
    """
    features = connections[written_to(rows)].features
    can_skip = features.has_select_for_update_skip_locked
    return rows.select_for_update(
        no_key=features.has_select_for_no_key_update,
        skip_locked=skip_locked and can_skip,
        nowait=skip_locked and not can_skip and features.has_select_for_update_nowait,
    )


def lock_free(rows: QuerySet[M], ids: Collection[int]) -> list[int]:
    """Lock those of these rows that no other transaction has locked, and return their ids, sorted."""
    using = written_to(rows)
    features = connections[using].features
    keys = locked(rows.filter(pk__in=ids), skip_locked=True).order_by("pk").values_list("pk", flat=True)
    if features.has_select_for_update_skip_locked or not features.has_select_for_update:
        return list(keys)
    free: list[int] = []
    for pk in sorted(ids):
        try:
            with transaction.atomic(using=using):
                free += keys.filter(pk=pk)
        except DatabaseError as error:
            if not is_locked(error):
                raise
    return free


def held_elsewhere(model: type[Model], wanted: Collection[int], locked_ids: Collection[int], *, using: str) -> set[int]:
    """Return the ids of wanted rows that exist but were not locked, because another transaction has locked them."""
    missing = {*wanted} - {*locked_ids}
    if not missing:
        return set()
    return set(model._base_manager.using(using).filter(pk__in=missing).values_list("pk", flat=True))


@contextmanager
def impatient(using: str) -> Iterator[None]:
    """Let statements fail that would have to wait for a lock, with an error for which :func:`is_locked` returns true.

    Use it for statements that can't skip locked rows, such as an UPDATE of a unique column. On PostgreSQL it applies to
    the rest of the caller's transaction.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {MOST_WAIT_MS}")
        yield
    elif connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
            (seconds,) = cursor.fetchone()
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 0")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])
    else:
        yield


def is_locked(error: BaseException) -> bool:
    """Return whether a statement failed because another transaction holds a lock. Try it again later."""
    return isinstance(error, DatabaseError) and not _LOCKED.isdisjoint(_codes(error))


def is_conflict(error: BaseException) -> bool:
    """Return whether a transaction failed in a conflict with another one, such as a deadlock. Try it again at once."""
    return isinstance(error, DatabaseError) and not _CONFLICT.isdisjoint(_codes(error))


def retried(work: Callable[[], T], *, using: str) -> T:
    """Do the work. If it fails in a conflict with another transaction, try it again at once, up to three times.

    Inside a transaction of the caller it can't be tried again, so the error is raised.
    """
    for _ in range(RETRIES):
        try:
            return work()
        except DatabaseError as error:
            if not is_conflict(error) or connections[using].in_atomic_block:
                raise
    return work()


def in_transaction(work: Callable[[], T], *, using: str) -> T:
    """Do the work in a transaction, and try it again after a conflict like :func:`retried`."""

    def begun() -> T:
        with transaction.atomic(using=using):
            return work()

    return retried(begun, using=using)


def _codes(error: DatabaseError) -> set[object]:
    """Return the codes of the error: an SQLSTATE for PostgreSQL, a number for MariaDB."""
    driver = error.__cause__
    # These are set by psycopg, by psycopg2 and by mysqlclient.
    return {getattr(driver, "sqlstate", None), getattr(driver, "pgcode", None), *error.args[:1]}


def after_commit(act: Callable[..., object], *arguments: object, using: str) -> None:
    """Call ``act`` after the commit of the transaction, or now if none is open. An exception of it is logged."""

    # Not a partial: to log an exception, Django reads the hook's __qualname__, which a partial does not have.
    def hook() -> None:
        act(*arguments)

    transaction.on_commit(hook, using=using, robust=True)
