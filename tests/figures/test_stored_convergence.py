"""The stored convergence: slices against the direct count, the row, its lease and its age."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import QuerySet

from live_push.figures import stored_convergence
from live_push.figures.convergence import Convergence, convergence
from live_push.figures.convergence_slices import ConvergenceCount, Slice, read_slice
from live_push.figures.stored_convergence import EVERY, LEASE, RESTART_AFTER, count_next_slice, known_convergence
from live_push.models import ClientEndpoint, Confirmation, StoredConvergence, UserProfile
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory
from tests.state_machine.connections import further_connections
from tests.support import OK, START, deliver, is_held, statements

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five profiles are many, and a slice has two."""
    monkeypatch.setattr(stored_convergence, "FEW_PROFILES", 4)
    monkeypatch.setattr(stored_convergence, "PROFILES_PER_SLICE", 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Both clocks stand still; what this returns makes each slice take so many seconds."""
    local, seconds = 1000.0, 0.001

    def read(**wanted: Any) -> Slice:
        nonlocal local
        local += seconds
        return read_slice(**wanted)

    def take(longer: float) -> None:
        nonlocal seconds
        seconds = longer

    monkeypatch.setattr(stored_convergence, "time", SimpleNamespace(monotonic=lambda: local))
    monkeypatch.setattr(stored_convergence, "read_slice", read)
    with stopped(START):
        yield take


def profiles(number: int) -> list[int]:
    """The ids of so many new profiles, of which no push was recorded."""
    known = set(UserProfile.objects.values_list("pk", flat=True))
    QuerySet(UserProfile).bulk_create([UserProfile() for _ in range(number)])
    new = UserProfile._base_manager.exclude(pk__in=known)
    QuerySet.update(new, changed_sequence=2, date_last_updated=START)
    return sorted({*UserProfile.objects.values_list("pk", flat=True)} - known)


def confirm(endpoint: ClientEndpoint, ids: list[int], sequence: int, **columns: Any) -> None:
    Confirmation.objects.bulk_create(
        [
            Confirmation(endpoint=endpoint, profile_id=pk, sequence=sequence, confirmed_at=START, digest="", **columns)
            for pk in ids
        ]
    )


def known() -> dict[int, Convergence]:
    return known_convergence(list(ClientEndpoint.objects.all()), using="default")


def counts() -> dict[int, tuple[int, int, int]]:
    return {pk: (found.confirmed, found.behind, found.never_sent) for pk, found in known().items()}


def count_everything(*, at: Any = START) -> None:
    """Count until a count is complete that began at this time or later. No slice takes any time."""
    StoredConvergence.objects.update(under_way={}, next_slice_at=at)
    for second in range(1000):
        with stopped(at + second * 60 * SECOND):
            count_next_slice(using="default")
        if not StoredConvergence.objects.get().under_way:
            return
    raise AssertionError("The count does not end.")


class TestSlices:
    @pytest.mark.parametrize("size", [1, 3, 7, 100])
    @pytest.mark.parametrize("seed", range(3))
    def test_they_add_up_to_the_direct_count(self, seed: int, size: int) -> None:
        random = Random(seed)
        endpoints = ClientEndpointFactory.create_batch(3)
        endpoints[seed].set_audience(["north"])
        for pk in profiles(25):
            change(random, pk, endpoints)
        UserProfile._base_manager.filter(pk__in=random.sample(profiles(9), 4))._raw_delete("default")  # type: ignore[attr-defined]
        assert counted_in_slices(size, lambda: None) == convergence(using="default")

    @pytest.mark.parametrize("seed", range(8))
    def test_each_is_right_for_its_moment_while_members_change(self, seed: int) -> None:
        random = Random(seed)
        endpoints = ClientEndpointFactory.create_batch(3)
        endpoints[seed % 3].set_audience(["north"][: seed % 2])
        for pk in profiles(20):
            change(random, pk, endpoints)
        expected = {endpoint.pk: [0, 0, 0] for endpoint in endpoints}
        place, size = 0, random.randrange(2, 6)

        def step() -> None:
            """Change members, come and go, then note by brute force what the next slice is about to see."""
            nonlocal place
            for pk in random.sample(list(UserProfile.objects.values_list("pk", flat=True)), 8):
                change(random, pk, endpoints)
            if random.random() < 0.5:
                UserProfile.objects.order_by("?")[0].delete()
                profiles(1)
            seen = list(UserProfile.objects.filter(pk__gt=place).order_by("pk")[:size])
            place = seen[-1].pk if seen else place
            for endpoint in endpoints:
                for member, amount in enumerate(by_brute_force(endpoint, seen)):
                    expected[endpoint.pk][member] += amount

        found = counted_in_slices(size, step)
        assert {one.endpoint_id: [one.confirmed, one.behind, one.never_sent] for one in found} == expected

    def test_one_is_read_by_index_in_one_statement(self) -> None:
        endpoints = ClientEndpointFactory.create_batch(3)
        ids = profiles(4000)
        for endpoint in endpoints:
            confirm(endpoint, ids, 1)
        with connection.cursor() as cursor:
            for table in ("live_push_confirmation", "live_push_userprofile"):
                cursor.execute(f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}")
        (sql,) = statements(lambda: read_slice(after=ids[2000], size=5, using="default"))
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {'QUERY PLAN' if connection.vendor == 'sqlite' else ''} {sql}")
            plan = "\n".join(str(row) for row in cursor.fetchall())
        assert "live_push_confirmation_profile_id" in plan
        whole = {
            "sqlite": ("SCAN live_push", "SCAN c"),
            "postgresql": ("Seq Scan on live_push_confirmation", "Seq Scan on live_push_userprofile"),
            "mysql": ("'c', 'ALL'", "profile', 'ALL'"),
        }
        assert not any(words in plan for words in whole[connection.vendor]), plan


def change(random: Random, pk: int, endpoints: list[ClientEndpoint]) -> None:
    """A member is somehow, and so is what each endpoint but the last has accepted."""
    UserProfile._base_manager.filter(pk=pk).update(
        changed_sequence=random.randrange(1, 5),
        date_last_updated=START + random.randrange(1, 10**6) * SECOND,
        client_branding_id=random.choice(["north", "south", None]),
    )
    for endpoint in endpoints[:-1]:
        Confirmation.objects.filter(endpoint=endpoint, profile=pk).delete()
        if random.random() < 0.8:
            uncertain = START if random.random() < 0.2 else None
            confirm(endpoint, [pk], random.randrange(1, 5), uncertain_since=uncertain)


def by_brute_force(endpoint: ClientEndpoint, members: list[UserProfile]) -> tuple[int, int, int]:
    members = [member for member in members if is_held(endpoint, member)]
    accepted = {row.profile_id: row for row in Confirmation.objects.filter(endpoint=endpoint)}
    some = [(member, accepted[member.pk]) for member in members if member.pk in accepted]
    confirmed = sum(row.sequence >= member.changed_sequence and not row.uncertain_since for member, row in some)
    return confirmed, len(some) - confirmed, len(members) - len(some)


def counted_in_slices(size: int, before_each: Callable[[], None]) -> list[Convergence]:
    endpoints = list(ClientEndpoint.objects.order_by("name"))
    count = ConvergenceCount.begin((endpoint.pk, endpoint.version) for endpoint in endpoints)
    while not count.is_complete:
        before_each()
        # As another process would go on with it.
        count = ConvergenceCount.from_json(count.as_json()) or count
        count.add(read_slice(after=count.last_id, size=size, using="default"))
    return [found for endpoint in endpoints if (found := count.convergence(endpoint)) is not None]


class TestReading:
    def test_few_members_are_counted_now(self, many: None) -> None:
        endpoint = ClientEndpointFactory()
        confirm(endpoint, profiles(4)[:1], 2)
        assert known() == {endpoint.pk: convergence(using="default")[0]}
        assert counts() == {endpoint.pk: (1, 0, 3)}
        assert len(statements(known)) == 3  # The endpoints, the row and the slice.

    def test_many_members_are_not_known_until_a_worker_has_counted_them_all(self, many: None) -> None:
        endpoint = ClientEndpointFactory()
        confirm(endpoint, profiles(5), 2)
        assert known() == {}
        with stopped(START):
            count_next_slice(using="default")
        assert known() == {}
        count_everything()
        assert counts() == {endpoint.pk: (5, 0, 0)}

    def test_what_was_counted_is_read_without_the_members(self, many: None) -> None:
        ClientEndpointFactory()
        profiles(5)
        count_everything()
        read = statements(known)
        assert len(read) == 2
        assert not any("userprofile" in sql or "live_push_confirmation" in sql for sql in read)

    def test_members_who_became_many_since_are_not_counted_by_the_reader(self, many: None) -> None:
        endpoint = ClientEndpointFactory()
        profiles(1)
        count_everything()
        profiles(100)
        assert counts() == {endpoint.pk: (0, 0, 1)}
        assert len(statements(known)) == 3

    def test_its_age_is_that_of_the_first_slice(self, many: None, clock: Any) -> None:
        endpoint = ClientEndpointFactory()
        profiles(5)
        for minutes in range(3):
            with stopped(START + minutes * 60 * SECOND):
                assert count_next_slice(using="default").counted
        assert known()[endpoint.pk].counted_at == START

    def test_an_endpoint_that_was_changed_is_outdated_until_it_is_counted_again(self, many: None) -> None:
        changed, other = ClientEndpointFactory.create_batch(2)
        profiles(5)
        count_everything()
        changed.save()
        assert {pk: found.is_outdated for pk, found in known().items()} == {changed.pk: True, other.pk: False}
        count_everything()
        assert not any(found.is_outdated for found in known().values())

    def test_an_endpoint_that_was_switched_on_is_outdated(self, many: None) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        profiles(5)
        count_everything()
        ClientEndpoint.objects.update(is_active=True)
        assert known()[endpoint.pk].is_outdated

    def test_a_change_during_a_count_makes_its_result_outdated(self, many: None, clock: Any) -> None:
        endpoint = ClientEndpointFactory()
        profiles(5)
        count_next_slice(using="default")
        endpoint.save()
        for minutes in (1, 2):
            with stopped(START + minutes * 60 * SECOND):
                count_next_slice(using="default")
        assert known()[endpoint.pk].is_outdated

    def test_endpoints_come_and_go(self, many: None) -> None:
        gone, stays = ClientEndpointFactory.create_batch(2)
        profiles(5)
        count_everything()
        gone.delete()
        new = ClientEndpointFactory()
        assert counts() == {stays.pk: (0, 0, 5)}
        count_everything()
        assert counts() == {stays.pk: (0, 0, 5), new.pk: (0, 0, 5)}


class TestTheRow:
    def test_after_a_slice_the_next_one_waits_nineteen_times_as_long(self, many: None, clock: Any) -> None:
        profiles(5)
        clock(0.5)
        turn = count_next_slice(using="default")
        assert (turn.counted, turn.seconds_until_next) == (True, pytest.approx(9.5))
        for seconds, counted in ((0.5, False), (9.9, False), (10, True)):
            with stopped(START + seconds * SECOND):
                assert count_next_slice(using="default").counted is counted

    def test_a_short_count_is_made_once_a_minute(self, many: None, clock: Any) -> None:
        profiles(1)
        assert count_next_slice(using="default").seconds_until_next == pytest.approx(60, abs=0.1)
        with stopped(START + EVERY - SECOND):
            assert not count_next_slice(using="default").counted
        with stopped(START + EVERY):
            assert count_next_slice(using="default").counted

    def test_it_costs_few_statements(self, many: None, clock: Any) -> None:
        profiles(5)
        count_next_slice(using="default")
        with stopped(START + SECOND):
            # Row, lock and lease, slice, result.
            assert len(statements(lambda: count_next_slice(using="default"))) == 5
            assert len(statements(lambda: count_next_slice(using="default"))) == 1

    def test_rare_calls_make_up_for_the_time_between_them(self, many: None, clock: Any) -> None:
        profiles(200)
        clock(0.5)
        count_next_slice(using="default", catching_up=True)
        read = []
        for minutes in range(1, 5):
            with stopped(START + minutes * 60 * SECOND):
                before = StoredConvergence.objects.get().under_way["profiles"]
                assert count_next_slice(using="default", catching_up=True).counted
                read.append(StoredConvergence.objects.get().under_way["profiles"] - before)
        # A twentieth of a minute is 3 s: six slices of half a second with two profiles each.
        assert read == [10, 12, 12, 12]

    def test_a_count_that_was_left_for_an_hour_begins_anew(self, many: None, clock: Any) -> None:
        endpoint = ClientEndpointFactory()
        profiles(5)
        count_next_slice(using="default")
        later = START + RESTART_AFTER + SECOND
        for minutes in range(3):
            with stopped(later + minutes * 60 * SECOND):
                count_next_slice(using="default")
        assert known()[endpoint.pk].counted_at == later


class TestTheLease:
    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch, many: None) -> Callable[[Callable[[], Any]], None]:
        """Lets something happen while the next slice is read."""

        def set_up(act: Callable[[], Any]) -> None:
            def read(**wanted: Any) -> Slice:
                monkeypatch.setattr(stored_convergence, "read_slice", read_slice)
                found = read_slice(**wanted)
                act()
                return found

            monkeypatch.setattr(stored_convergence, "read_slice", read)

        profiles(5)
        return set_up

    def test_while_one_worker_reads_a_slice_no_other_does(self, meanwhile: Any) -> None:
        turns = []
        with stopped(START):
            meanwhile(lambda: turns.append(count_next_slice(using="default")))
            assert count_next_slice(using="default").counted
        assert [turn.counted for turn in turns] == [False]
        assert turns[0].seconds_until_next == LEASE.total_seconds()

    def test_a_killed_worker_is_replaced_when_its_lease_is_over(self, meanwhile: Any) -> None:
        def kill() -> None:
            raise SystemExit

        meanwhile(kill)
        with stopped(START), pytest.raises(SystemExit):
            count_next_slice(using="default")
        with stopped(START + LEASE - SECOND):
            assert not count_next_slice(using="default").counted
        with stopped(START + LEASE):
            assert count_next_slice(using="default").counted
        assert StoredConvergence.objects.get().under_way["profiles"] == 2

    def test_a_worker_that_lost_its_lease_writes_nothing(self, meanwhile: Any) -> None:
        rows = []

        def overtake() -> None:
            with stopped(START + LEASE):
                assert count_next_slice(using="default").counted
            rows.append(StoredConvergence.objects.values().get())

        meanwhile(overtake)
        with stopped(START):
            count_next_slice(using="default")
        assert rows == list(StoredConvergence.objects.values())

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no row locks.")
    def test_a_slice_is_kept_although_another_worker_has_locked_the_row(self, meanwhile: Any) -> None:
        with stopped(START), further_connections("other"), ExitStack() as other:

            def look() -> None:
                other.enter_context(transaction.atomic(using="other"))
                assert StoredConvergence.objects.using("other").select_for_update().get()

            def release_before_update(execute: Any, sql: str, *rest: Any) -> Any:
                if sql.startswith("UPDATE"):
                    other.close()
                return execute(sql, *rest)

            meanwhile(look)
            with connection.execute_wrapper(release_before_update):
                count_next_slice(using="default")
        assert StoredConvergence.objects.get().under_way["profiles"] == 2

    def test_of_many_that_look_at_once_one_counts(self, many: None) -> None:
        profiles(5)
        with stopped(START):
            count_next_slice(using="default")
        counted, ready = [], threading.Barrier(4)

        def look() -> None:
            try:
                connection.ensure_connection()
                ready.wait(10)
                counted.append(count_next_slice(using="default").counted)
            finally:
                connections["default"].close()

        with stopped(START + 60 * SECOND):
            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(counted) == [False, False, False, True]
        assert StoredConvergence.objects.get().under_way["profiles"] == 4


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no row locks.")
def test_it_waits_for_no_lock(many: None) -> None:
    endpoint = ClientEndpointFactory()
    confirm(endpoint, profiles(5), 2)
    with stopped(START):
        count_next_slice(using="default")
    with further_connections("host"), transaction.atomic(using="host"):
        if connection.vendor == "mysql":
            # MariaDB answers SKIP LOCKED with an error where it may not wait at all.
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        for model in (UserProfile, Confirmation, ClientEndpoint):
            assert list(model._base_manager.using("host").select_for_update())
        count_everything()
        assert counts() == {endpoint.pk: (5, 0, 0)}
        assert list(StoredConvergence.objects.using("host").select_for_update())
        with stopped(START + timedelta(days=1)):
            assert not count_next_slice(using="default").counted
    with stopped(START + timedelta(days=1)):
        assert count_next_slice(using="default").counted


def test_what_is_delivered_is_confirmed_in_the_next_count(many: None) -> None:
    endpoint = ClientEndpointFactory()
    with stopped(START):
        members = [UserProfile() for _ in range(5)]
        for member in members:
            member.save()
    count_everything()
    assert counts() == {endpoint.pk: (0, 0, 5)}
    with stopped(START):
        deliver(OK)
    members[0].save()
    count_everything()
    assert counts() == {endpoint.pk: (4, 1, 0)}
    assert next(iter(known().values())).behind_since == UserProfile.objects.get(pk=members[0].pk).date_last_updated
