"""The worker never waits for a lock of the host's: whatever needs a row that is held comes again, and the rest goes on.

A second connection holds the rows. The worker's own fails where it would have to wait, and each such failure is noted:
so a test sees a wait even where the code would get over it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.core import mail
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import QuerySet

from live_push.delivery.request import Request
from live_push.engines import base, settling
from live_push.engines.pipeline import Pipeline
from live_push.engines.worker import WorkerLoop
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    DeliveryStatus,
    EndpointHealth,
    ListedBranding,
    Push,
    UserProfile,
)
from live_push.models.clock import db_now, stopped
from live_push.models.transactions import is_locked
from live_push.outbox import (
    announce,
    catch_up,
    lease_times,
    prune,
    release,
    resend,
)
from live_push.rules import local_clock
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections
from tests.support import OK, START, ScriptedTransport, deliver, status

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no row locks: a writer waits for the other."),
]

HOST = "host"

PATIENT = {
    "postgresql": "SET lock_timeout = 0; SET statement_timeout = '5s'",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 60, max_statement_time = 5",
}

REFUSING_TO_WAIT = ("NOWAIT", "SET STATEMENT innodb_lock_wait_timeout = 0")
"""What a statement says that is allowed to fail, because it fails at once."""


@pytest.fixture(autouse=True)
def waits(transactional_db: None) -> Iterator[list[str]]:
    """The statements of the worker that would have waited for a lock. There must be none."""
    noted: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        try:
            return execute(sql, *args)
        except DatabaseError as error:
            if is_locked(error) and not any(mark in sql for mark in REFUSING_TO_WAIT):
                noted.append(sql)
            raise

    with further_connections(HOST), connections["default"].execute_wrapper(note):
        if connection.vendor == "mysql":
            # MariaDB answers SKIP LOCKED with an error where it may not wait at all.
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        yield noted
    assert noted == []


@contextmanager
def held(rows: QuerySet[Any, Any]) -> Iterator[None]:
    """A transaction of the host's holds these rows, as ``select_for_update()`` takes them."""
    with transaction.atomic(using=HOST):
        assert list(rows.using(HOST).select_for_update())
        yield


class Clock:
    """The pipeline's clock and the local one, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(local_clock, "local_now", lambda: self.now)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Worker:
    """A worker whose clients answer at once; each step is taken by the test."""

    def __init__(self, answer: Callable[[Request], Result], clock: Clock) -> None:
        self.transport = ScriptedTransport(answer)
        self.pipeline = Pipeline(
            using="default", name="w", threads=4, transport=self.transport, random=lambda: 0.0, monotonic=clock
        )

    def send(self) -> None:
        """Claim and send, and wait for the answers without settling them."""
        self.pipeline.turn(polling=True)
        while self.pipeline._outcomes.qsize() < self.pipeline.in_flight:
            self.pipeline.something_happened.wait(0.01)

    def work(self) -> None:
        """Turn until all that can be done now is done."""
        while self.pipeline.turn(polling=True) or self.pipeline.in_flight:
            pass

    def stop(self) -> None:
        """End like a worker that gets SIGTERM."""
        self.pipeline.drain()


@contextmanager
def worker(answer: Callable[[Request], Result], clock: Clock) -> Iterator[Worker]:
    made = Worker(answer, clock)
    try:
        yield made
    finally:
        made.pipeline.close()


def accept(request: Request) -> Result:
    return OK


def with_id(request: Request) -> Result:
    """An answer with an id of its own for each member."""
    return status(200, json.dumps({"third_party_id": f"T-{json.loads(request.body)['id']}"}).encode())


def states() -> dict[tuple[str, int | None], str]:
    """The state of the newest delivery of each endpoint and member."""
    rows = Delivery.objects.order_by("pk").values_list("endpoint__name", "profile", "status")
    return {(name, profile_id): state for name, profile_id, state in rows}


class TestAMemberIsLockedWhoseIdIsCaptured:
    def test_the_other_endpoint_does_not_notice_and_the_id_is_stored_afterwards(self, clock: Clock) -> None:
        ClientEndpointFactory(name="cap", capturing=True)
        ClientEndpointFactory(name="a")
        locked, other = UserProfileFactory.create_batch(2)
        with worker(with_id, clock) as w:
            with held(UserProfile.objects.filter(pk=locked.pk)):
                w.work()
                assert states() == {
                    ("cap", locked.pk): "sending",
                    ("cap", other.pk): "succeeded",
                    ("a", locked.pk): "succeeded",
                    ("a", other.pk): "succeeded",
                }
                UserProfileFactory.create_batch(3)
                clock.now += 1
                w.work()
                assert Delivery.objects.exclude(status="succeeded").count() == 1
            clock.now += 1
            w.work()
        locked.refresh_from_db()
        assert locked.third_party_id == f"T-{locked.pk}"
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}

    def test_an_answer_without_an_id_needs_no_lock(self, clock: Clock) -> None:
        ClientEndpointFactory(capturing=True)
        profile = UserProfileFactory()
        with worker(accept, clock) as w, held(UserProfile.objects.filter(pk=profile.pk)):
            w.work()
        assert Attempt.objects.get().error_code == "id_missing"

    def test_another_member_gets_the_id_in_a_transaction_that_is_open(self, clock: Clock, waits: list[str]) -> None:
        """The database can't say yet whether the id is free: that is known when the transaction ends."""
        ClientEndpointFactory(name="cap", capturing=True)
        ClientEndpointFactory(name="a")
        profile, rival = UserProfileFactory.create_batch(2)
        Delivery.objects.filter(profile=rival).delete()
        with connection.cursor() as cursor:
            # Nothing but the code itself keeps the statement from waiting for longer than it may run.
            cursor.execute(PATIENT[connection.vendor])
        with worker(lambda _: status(200, b'{"third_party_id": "T"}'), clock) as w:
            with transaction.atomic(using=HOST):
                UserProfile.objects.using(HOST).filter(pk=rival.pk).update(third_party_id="T")
                w.work()
                assert states()["cap", profile.pk] == "sending"
                assert states()["a", profile.pk] == "succeeded"
            clock.now += 1
            w.work()
        assert states()["cap", profile.pk] == "succeeded"
        assert Attempt.objects.get(delivery__endpoint__name="cap", delivery__profile=profile).capture_conflict
        # No lock can be skipped here. The one statement waits for 50 ms at most.
        (statement,) = waits
        assert "third_party_id" in statement
        waits.clear()

    def test_its_lease_is_renewed_while_it_waits(self, clock: Clock) -> None:
        ClientEndpointFactory(capturing=True)
        profile = UserProfileFactory()
        with worker(with_id, clock) as w, held(UserProfile.objects.filter(pk=profile.pk)):
            with stopped(START):
                Delivery.objects.update(next_attempt_at=START)
                w.work()
            for seconds in range(0, 58, 4):
                clock.now += 4
                with stopped(START + timedelta(seconds=seconds + 4)):
                    w.work()
                    assert release.release_stalled(using="default", random=lambda: 0.0) == 0
        assert not Attempt.objects.exists()

    def test_after_a_minute_it_is_left_to_its_lease(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        ClientEndpointFactory(capturing=True)
        profile = UserProfileFactory()
        with worker(with_id, clock) as w, held(UserProfile.objects.filter(pk=profile.pk)):
            w.work()
            for _ in range(int(settling.GIVEN_UP_AFTER_SECONDS)):
                clock.now += 1
                w.work()
        assert "was not written" in caplog.text
        with stopped(db_now("default") + timedelta(seconds=60)):
            assert release.release_stalled(using="default", random=lambda: 0.0) == 1
        assert Delivery.objects.get().last_error_code == "lease_lost"

    def test_a_worker_that_is_stopped_tries_once_more_and_leaves_it_to_its_lease(self, clock: Clock) -> None:
        ClientEndpointFactory(name="client", capturing=True)
        first, second = UserProfileFactory.create_batch(2)
        with worker(with_id, clock) as w:
            with held(UserProfile.objects.all()):
                w.work()
                assert Delivery.objects.filter(status="sending").count() == 2
            with held(UserProfile.objects.filter(pk=first.pk)):
                w.stop()
        assert states() == {
            ("client", first.pk): "sending",
            ("client", second.pk): "succeeded",
        }

    def test_a_run_of_a_task_goes_on_until_it_is_written(self, clock: Clock) -> None:
        ClientEndpointFactory(capturing=True)
        UserProfileFactory()
        looks = count()
        with worker(with_id, clock) as w, ExitStack() as host:
            host.enter_context(held(UserProfile.objects.all()))

            def enough() -> bool:
                clock.now += 1
                if next(looks) == 9:
                    host.close()
                return False

            assert w.pipeline.run_until_idle(enough=enough) == 1
        assert Delivery.objects.get().status == "succeeded"

    def test_a_run_whose_time_is_over_leaves_it_to_its_lease(self, clock: Clock) -> None:
        ClientEndpointFactory(name="cap", capturing=True)
        ClientEndpointFactory(name="a")
        profile = UserProfileFactory()
        looks = count()
        with worker(with_id, clock) as w, held(UserProfile.objects.all()):
            w.pipeline.run_until_idle(enough=lambda: next(looks) == 9)
        assert states() == {("cap", profile.pk): "sending", ("a", profile.pk): "succeeded"}

    def test_an_endpoint_whose_answers_all_wait_is_sent_no_more(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settling, "MOST_POSTPONED", 2)
        ClientEndpointFactory(capturing=True, max_in_flight=1)
        UserProfileFactory.create_batch(5)
        with worker(with_id, clock) as w, held(UserProfile.objects.all()):
            w.work()
            # The answer to one more request was under way when it was noticed.
            assert Delivery.objects.filter(attempts_made=1).count() == 3


class TestAMemberIsLockedWhoIsResent:
    def test_others_are_drawn_and_the_locked_one_comes_again(self, clock: Clock) -> None:
        ClientEndpointFactory(name="a")
        locked, other = UserProfileFactory.create_batch(2)
        deliver()
        resend.record([locked.pk, other.pk], using="default")
        UserProfileFactory()
        with worker(accept, clock) as w:
            with held(UserProfile.objects.filter(pk=locked.pk)):
                w.work()
                assert Delivery.objects.exclude(status="succeeded").get().profile == locked
                assert Push.objects.get(sequence=None).profile == locked
            with stopped(db_now("default") + timedelta(seconds=2)):
                w.work()
        assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}
        # What was given back because its body could not be drawn was no attempt.
        assert set(Delivery.objects.values_list("attempts_made", flat=True)) == {1}

    def test_a_member_who_is_being_deleted_is_not_forgotten_before_that_is_certain(self, clock: Clock) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        resend.record([profile.pk], using="default")
        with worker(accept, clock) as w:
            with transaction.atomic(using=HOST):
                UserProfile.objects.using(HOST).get(pk=profile.pk).delete()
                w.work()
                transaction.set_rollback(True, using=HOST)
            with stopped(db_now("default") + timedelta(seconds=2)):
                w.work()
        assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


class TestAMemberIsLockedWhoIsCaughtUp:
    def test_others_are_resent_and_the_locked_one_at_the_next_look(self) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        with stopped(START):
            EndpointHealth.objects.update(inactive_since=START - timedelta(hours=1))
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True)
            # Changes that were under way saw the endpoint switched off.
            locked, other = UserProfileFactory.create_batch(2)
            Delivery.objects.all().delete()
        with stopped(START + timedelta(seconds=6)):
            with held(UserProfile.objects.filter(pk=locked.pk)):
                found = catch_up.catch_up(using="default")
                # Only PostgreSQL locks members here, so that none is deleted meanwhile.
                assert found == (1 if connection.vendor == "postgresql" else 2)
            found += catch_up.catch_up(using="default")
        assert found == 2
        assert set(Delivery.objects.values_list("profile", flat=True)) == {locked.pk, other.pk}

    def test_an_endpoint_whose_health_is_locked_is_looked_after_later(self) -> None:
        first, second = ClientEndpointFactory.create_batch(2, is_active=False)
        with stopped(START):
            EndpointHealth.objects.update(inactive_since=START - timedelta(hours=1))
            ClientEndpoint.objects.all().update(is_active=True)
            UserProfileFactory()
            Delivery.objects.all().delete()
        with stopped(START + timedelta(seconds=6)):
            with held(EndpointHealth.objects.filter(pk=first.pk)):
                base.do_housekeeping("default")
                assert Delivery.objects.get().endpoint == second
            base.do_housekeeping("default")
        assert set(Delivery.objects.values_list("endpoint", flat=True)) == {first.pk, second.pk}


class TestTheHealthOfOneEndpointIsLocked:
    def test_the_other_endpoint_does_not_notice(self, clock: Clock) -> None:
        locked, _other = ClientEndpointFactory(name="locked"), ClientEndpointFactory(name="a")
        profiles = UserProfileFactory.create_batch(3)
        with worker(accept, clock) as w:
            with held(EndpointHealth.objects.filter(pk=locked.pk)):
                w.work()
                assert states() == {
                    (name, profile.pk): state
                    for profile in profiles
                    for name, state in (("a", "succeeded"), ("locked", "pending"))
                }
            clock.now += 1
            w.work()
        assert set(states().values()) == {"succeeded"}

    def test_its_answers_are_settled_afterwards(self, clock: Clock) -> None:
        locked, other = ClientEndpointFactory(name="locked"), ClientEndpointFactory(name="a")
        profile = UserProfileFactory()
        with worker(accept, clock) as w:
            w.send()
            with held(EndpointHealth.objects.filter(pk=locked.pk)):
                w.work()
                assert states() == {("locked", profile.pk): "sending", ("a", profile.pk): "succeeded"}
            clock.now += 1
            w.work()
            w.stop()
        assert set(states().values()) == {"succeeded"}
        assert set(Confirmation.objects.values_list("endpoint", flat=True)) == {locked.pk, other.pk}

    def test_successes_that_change_nothing_in_it_are_settled_at_once(self, clock: Clock) -> None:
        ClientEndpointFactory(max_in_flight=1)
        UserProfileFactory.create_batch(6)

        def send_some() -> None:
            for _ in range(3):
                w.send()
                clock.now += settling.SETTLE_SECONDS

        with worker(accept, clock) as w:
            # The first success is written down in the row.
            send_some()
            settled = w.pipeline.settled
            with held(EndpointHealth.objects.all()):
                send_some()
                assert w.pipeline.settled > settled > 0

    def test_a_failure_of_it_keeps_the_worker_from_sending_more_to_it(self, clock: Clock) -> None:
        ClientEndpointFactory(max_in_flight=1)
        UserProfileFactory.create_batch(3)
        with worker(lambda _: status(500), clock) as w:
            w.send()
            with held(EndpointHealth.objects.all()):
                w.work()
                clock.now += 1
                w.work()
            assert len(w.transport.requests) == 1

    def test_its_slots_are_given_back_afterwards(self, clock: Clock) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        with worker(accept, clock) as w:
            w.pipeline._claim(isolated=False)
            with held(EndpointHealth.objects.all()):
                w.pipeline.give_back(w.pipeline._queues)
            assert EndpointHealth.objects.get().slots != {}
            clock.now += 1
            w.pipeline.turn(claiming=False)
            assert EndpointHealth.objects.get().slots == {}

    def test_a_probe_is_given_back_though(self, clock: Clock) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        EndpointHealth.objects.update(breaker_state="open", rests_until=db_now("default"))
        with worker(accept, clock) as w:
            w.pipeline._claim(isolated=False)
            with held(EndpointHealth.objects.all()):
                w.pipeline.give_back(w.pipeline._queues)
        assert Delivery.objects.get().status == "pending"
        # Its lease ends by itself.
        assert EndpointHealth.objects.get().breaker_state == "half_open"

    def test_a_warning_is_sent_after_a_later_attempt(self, clock: Clock) -> None:
        ClientEndpointFactory(contact_email="ops@client.example")
        UserProfileFactory()
        EndpointHealth.objects.update(failing_since=START, last_failure_at=START + timedelta(hours=7))
        health = EndpointHealth.objects.get()
        with stopped(START + timedelta(hours=7)), held(EndpointHealth.objects.all()):
            announce.announce([], unwell=[health.pk], disabled=[], using="default")
            assert mail.outbox == []
        with stopped(START + timedelta(hours=8)):
            announce.announce([], unwell=[health.pk], disabled=[], using="default")
        assert len(mail.outbox) == 1


class TestAnEndpointIsLocked:
    """As by a form that is being saved, in a transaction that takes long."""

    def test_it_is_disabled_by_a_410_afterwards(self, clock: Clock) -> None:
        gone, _other = ClientEndpointFactory(name="gone"), ClientEndpointFactory(name="a")
        profile = UserProfileFactory()

        def answer(request: Request) -> Result:
            return status(410) if request.url == gone.url else OK

        with worker(answer, clock) as w:
            with held(ClientEndpoint.objects.filter(pk=gone.pk)):
                w.work()
                assert states() == {("gone", profile.pk): "sending", ("a", profile.pk): "succeeded"}
            clock.now += 1
            w.work()
        gone.refresh_from_db()
        assert not gone.is_active
        assert states()["gone", profile.pk] == "failed"

    @pytest.mark.parametrize("model", [ClientEndpoint, EndpointHealth])
    def test_it_is_disabled_for_its_failures_after_a_later_one(self, model: type[Any], clock: Clock) -> None:
        endpoint = ClientEndpointFactory()
        EndpointHealth.objects.update(
            failing_since=START,
            failing_noticed_at=START + timedelta(days=1),
            failing_days=["2026-03-04", "2026-03-05", "2026-03-06"],
            last_failure_at=START + timedelta(days=5),
        )
        with stopped(START + timedelta(days=5)):
            with held(model.objects.all()):
                announce.announce([], unwell=[endpoint.pk], disabled=[], using="default")
                assert ClientEndpoint.objects.get().is_active
            announce.announce([], unwell=[endpoint.pk], disabled=[], using="default")
        assert not ClientEndpoint.objects.get().is_active


@contextmanager
def being_deleted(*profiles: UserProfile) -> Iterator[None]:
    """A transaction of the host's deletes members, takes its time and changes its mind."""
    with transaction.atomic(using=HOST):
        for profile in profiles:
            UserProfile.objects.using(HOST).get(pk=profile.pk).delete()
        yield
        transaction.set_rollback(True, using=HOST)


class TestMembersAreBeingDeleted:
    """That locks their deliveries, too."""

    def test_others_are_claimed_however_many_they_are(self, clock: Clock) -> None:
        ClientEndpointFactory(max_in_flight=2)
        going = UserProfileFactory.create_batch(12)
        staying = UserProfileFactory.create_batch(2)
        with worker(accept, clock) as w:
            with being_deleted(*going):
                w.work()
                succeeded = Delivery.objects.filter(status="succeeded")
                assert set(succeeded.values_list("profile", flat=True)) == {profile.pk for profile in staying}
            clock.now += 1
            w.work()
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}

    def test_no_younger_delivery_overtakes_one_that_is_locked(self, clock: Clock) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(city="older")
        profile.city = "newer"
        profile.save()
        older = Delivery.objects.earliest("pk")
        with worker(accept, clock) as w:
            with held(Delivery.objects.filter(pk=older.pk)):
                w.work()
                assert w.transport.requests == []
            w.work()
        assert [json.loads(request.body)["city"] for request in w.transport.requests] == ["older", "newer"]

    def test_what_was_claimed_before_is_not_started_and_others_are(self, clock: Clock) -> None:
        ClientEndpointFactory(max_in_flight=2)
        going, staying = UserProfileFactory.create_batch(2)
        with worker(accept, clock) as w:
            w.pipeline._claim(isolated=False)
            with being_deleted(going):
                w.work()
                assert [json.loads(request.body)["id"] for request in w.transport.requests] == [staying.pk]
            with stopped(db_now("default") + lease_times.claim_time() + timedelta(seconds=1)):
                release.release_stalled(using="default", random=lambda: 0.0)
                w.work()
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}

    def test_an_answer_is_settled_afterwards(self, clock: Clock) -> None:
        ClientEndpointFactory()
        going, staying = UserProfileFactory.create_batch(2)
        with worker(accept, clock) as w:
            w.send()
            with being_deleted(going):
                w.work()
                assert Delivery.objects.get(status="succeeded").profile == staying
            clock.now += 1
            w.work()
        assert set(Delivery.objects.values_list("status", "attempts_made")) == {("succeeded", 1)}

    def test_a_newer_state_supersedes_an_older_one_afterwards(self, clock: Clock) -> None:
        ClientEndpointFactory(ordering="latest_only")
        profile = UserProfileFactory()
        profile.save()
        older = Delivery.objects.earliest("pk")
        with worker(accept, clock) as w:
            with held(Delivery.objects.filter(pk=older.pk)):
                w.work()
            w.work()
        older.refresh_from_db()
        assert older.reason == "superseded"

    def test_what_is_pruned_is_pruned_without_them(self) -> None:
        ClientEndpointFactory()
        locked, _other = UserProfileFactory.create_batch(2)
        deliver()
        after = db_now("default") + timedelta(seconds=1)
        with held(Delivery.objects.filter(profile=locked)):
            batches = prune.delete_ended(after, DeliveryStatus.SUCCEEDED, using="default")
            assert sum(batch.deliveries for batch in batches) == 1
            assert Delivery.objects.get().profile == locked
        batches = prune.delete_ended(after, DeliveryStatus.SUCCEEDED, using="default")
        assert sum(batch.deliveries for batch in batches) == 1


class TestAHostThatLimitsHowLongItsStatementsWait:
    """With ``lock_timeout`` set on the role, or a short ``innodb_lock_wait_timeout``."""

    def test_no_lock_puts_the_worker_into_back_off(self) -> None:
        ClientEndpointFactory(name="cap", capturing=True)
        locked = ClientEndpointFactory(name="locked")
        ClientEndpointFactory(name="a")
        loop = WorkerLoop(using="default")
        loop.pipeline._sender.transport = ScriptedTransport(with_id)
        profile = UserProfileFactory()
        try:
            with held(UserProfile.objects.all()), held(EndpointHealth.objects.filter(pk=locked.pk)):
                while states()["a", profile.pk] != "succeeded":
                    assert loop._run_guarded(loop._turn)
                assert loop._run_guarded(loop._turn)
        finally:
            loop.pipeline.drain()
            loop.pipeline.close()
            loop.transport.close()


class TestADatabaseThatCanNotSkipLockedRows:
    """MariaDB before 10.6: the statement fails at once where one of its rows is held, and the rows are tried singly."""

    @pytest.fixture(autouse=True)
    def _old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection.features, "has_select_for_update_skip_locked", False)
        monkeypatch.setattr(connections[HOST].features, "has_select_for_update_skip_locked", False)

    def test_the_other_endpoint_does_not_notice_a_locked_member(self, clock: Clock) -> None:
        TestAMemberIsLockedWhoseIdIsCaptured().test_the_other_endpoint_does_not_notice_and_the_id_is_stored_afterwards(
            clock
        )

    def test_others_are_drawn(self, clock: Clock) -> None:
        TestAMemberIsLockedWhoIsResent().test_others_are_drawn_and_the_locked_one_comes_again(clock)

    def test_the_other_endpoint_does_not_notice_a_locked_health_row(self, clock: Clock) -> None:
        TestTheHealthOfOneEndpointIsLocked().test_its_answers_are_settled_afterwards(clock)

    def test_what_was_claimed_before_is_not_started(self, clock: Clock) -> None:
        TestMembersAreBeingDeleted().test_what_was_claimed_before_is_not_started_and_others_are(clock)


class TestAudience:
    """An endpoint that receives only listed members."""

    @pytest.fixture
    def members(self) -> list[UserProfile]:
        ClientEndpointFactory().set_audience(["north"])
        return UserProfileFactory.create_batch(2, client_branding_id="north")

    def test_a_member_whose_row_is_held_is_judged_as_it_was_committed_last(
        self, members: list[UserProfile], clock: Clock
    ) -> None:
        with worker(lambda _request: OK, clock) as working, held(UserProfile.objects.all()):
            UserProfile._base_manager.using(HOST).update(client_branding_id="south")
            working.work()
        assert set(Delivery.objects.values_list("status", "reason")) == {("succeeded", "")}

    def test_a_delivery_that_is_held_ends_at_the_next_search(self, members: list[UserProfile]) -> None:
        UserProfile._base_manager.update(client_branding_id="south")
        with held(Delivery.objects.filter(profile=members[0])):
            base.do_housekeeping("default")
        assert list(Delivery.objects.order_by("profile").values_list("status", flat=True)) == ["pending", "cancelled"]
        EndpointHealth.objects.update(outside_check_at=None)
        base.do_housekeeping("default")
        assert not Delivery.objects.filter(status="pending").exists()

    @pytest.mark.parametrize("model", [ListedBranding, ClientEndpoint, EndpointHealth])
    def test_a_save_does_not_wait_for_an_operator_who_is_changing_it(
        self, model: type[Any], members: list[UserProfile]
    ) -> None:
        Delivery.objects.all().delete()
        with held(model.objects.all()):
            members[0].save()
        assert Delivery.objects.count() == 1
