"""Everything that can happen to the outbox, in any order, with two workers, crashes and lost connections between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.apps import apps
from django.core.management.color import no_style
from django.db import DatabaseError, InterfaceError, connections, transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from live_push import conf
from live_push.models import ClientEndpoint, Delivery, DeliveryStatus, EndpointHealth, Ordering, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.outbox import prune, reopen, resend, withdraw
from live_push.rules import retry
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START

from . import promises
from .connections import Crash, at_statement, crash, lost_answer, lost_commit, lost_connection
from .played_worker import PlayedWorker
from .wire import ANSWERS, Flight, Wire

OPERATOR, HOST, WORKERS = "default", "host", ("first", "second")
MOST_PROFILES = 4
LOGINS_IGNORED = ["dateLastUpdated", "dateLastLogin"]
MOST_TURNS = 200
"""In which a worker does all that can be done before time goes on, with much to spare."""

some = st.integers(0, 11)
"""Picks one of however many there are."""
statement = st.integers(1, 30)
worker = st.sampled_from(WORKERS)
brandings = st.sampled_from(["north", "south", None])
audiences = st.sampled_from([None, None, ["north"], ["north", "south"], []])
answers = st.sampled_from(["ok", "ok", "ok", *ANSWERS])
contents = st.sampled_from(
    [{"only_changes": True}, {"only_changes": True}, {"only_changes": False}, {"mobile_verified_as_date": True}]
)
interruptions = st.sampled_from(
    [
        *("turn", "keep house", "save", "log in", "disable", "enable", "redeliver", "delete", "resend", "withdraw"),
        *("prune", "get only changes", "move out", "move in", "narrow", "widen"),
        *("hold an answer for 3 s", "hold an answer for 20 s"),
    ]
)


class Outbox(RuleBasedStateMachine):
    """The real outbox, settlement and pipeline on a real database; the clients and the clock are played."""

    numbers = count(1)

    def __init__(self) -> None:
        super().__init__()
        Outbox.numbers = count(1)
        self.wire = Wire()
        self.workers = {alias: PlayedWorker(alias, self.wire) for alias in WORKERS}
        self.cities = 0
        self.caps: dict[int, int] = {}
        self.policies: dict[int, retry.Policy] = {}
        self.members: list[int] = []
        self.long_transaction = ExitStack()
        self._clock = ExitStack()
        self._move_clock_to(START)

    # The cast

    @initialize(
        orderings=st.lists(st.sampled_from(Ordering.values), min_size=1, max_size=2),
        policies=st.lists(st.sampled_from(["crowdtwist", "brief"]), min_size=2, max_size=2),
        cap=st.integers(1, 3),
        captures=st.booleans(),
        rate=st.sampled_from([None, None, 2.0]),
        members=st.integers(1, 3),
        heard=st.lists(audiences, min_size=2, max_size=2),
        only_changes=st.lists(st.booleans(), min_size=2, max_size=2),
    )
    def open_for_business(
        self,
        orderings: list[str],
        policies: list[str],
        cap: int,
        captures: bool,
        rate: float | None,
        members: int,
        heard: list[list[str] | None],
        only_changes: list[bool],
    ) -> None:
        for number, (ordering, policy) in enumerate(zip(orderings, policies, strict=False)):
            endpoint = ClientEndpointFactory(
                ordering=ordering,
                retry_policy=policy,
                max_in_flight=cap,
                capture_third_party_id=captures and number == 0,
                rate_limit_per_second=rate,
                only_changes=only_changes[number],
                ignored_keys=LOGINS_IGNORED,
            )
            endpoint.set_audience(heard[number])
            self.caps[endpoint.pk] = cap
        UserProfileFactory.create_batch(members, city=self._city(), client_branding_id="north")

    # The host project saves

    @precondition(lambda self: self.is_host_free and len(self.members) < MOST_PROFILES)
    @rule(branding=brandings)
    def create(self, branding: str | None) -> None:
        self._host(lambda: UserProfileFactory(city=self._city(), client_branding_id=branding))

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some, branding=brandings)
    def move(self, one: int, branding: str | None) -> None:
        """A member leaves some audiences and enters others."""
        self._host(lambda: self._save(one, branding))

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some, times=st.integers(1, 2))
    def save(self, one: int, times: int) -> None:
        with transaction.atomic(using=HOST):
            for _ in range(times):
                self._save(one)

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some)
    def log_in(self, one: int) -> None:
        self._host(lambda: self._log_in(one))

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some, city=st.sampled_from(["here", "there"]))
    def go_where_the_member_may_have_been(self, one: int, city: str) -> None:
        self._host(lambda: self._save(one, city=city))

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some, other=some, before=st.booleans(), after=st.booleans())
    def save_around_a_rolled_back_savepoint(self, one: int, other: int, before: bool, after: bool) -> None:
        with transaction.atomic(using=HOST):
            if before:
                self._save(one)
            with suppress(_RollBack), transaction.atomic(using=HOST):
                self._save(other)
                raise _RollBack
            if after:
                self._save(one)

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some)
    def roll_a_save_back(self, one: int) -> None:
        with suppress(_RollBack), transaction.atomic(using=HOST):
            self._save(one)
            raise _RollBack

    @precondition(lambda self: self.is_host_free)
    @rule(branding=brandings)
    def move_all(self, branding: str | None) -> None:
        members = UserProfile.objects.using(HOST).order_by("pk")
        self._host(lambda: members.update(city=self._city(), client_branding_id=branding))

    @precondition(lambda self: self.is_host_free)
    @rule()
    def update_all(self) -> None:
        self._host(lambda: UserProfile.objects.using(HOST).order_by("pk").update(city=self._city()))

    # On SQLite nobody else could write meanwhile.
    @precondition(lambda self: self.is_host_free and self.members and connections[HOST].vendor != "sqlite")
    @rule(one=some)
    def begin_a_long_transaction(self, one: int) -> None:
        self.long_transaction.enter_context(transaction.atomic(using=HOST))
        self._save(one)

    @precondition(lambda self: not self.is_host_free)
    @rule(commit=st.booleans())
    def end_the_long_transaction(self, commit: bool) -> None:
        transaction.set_rollback(not commit, using=HOST)
        self.long_transaction.close()

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(one=some)
    def delete(self, one: int) -> None:
        self._host(lambda: self._member(one).delete())

    # Workers work

    @rule(alias=worker)
    def turn(self, alias: str) -> None:
        self._guarded(alias, self.workers[alias].turn)

    @rule(alias=worker)
    def do_housekeeping(self, alias: str) -> None:
        self._guarded(alias, self.workers[alias].do_housekeeping)

    @rule(alias=worker, number=statement)
    def turn_and_crash(self, alias: str, number: int) -> None:
        try:
            with at_statement(alias, number, crash):
                self._guarded(alias, self.workers[alias].turn)
        except Crash:
            connections[alias].close()
            self._replace(alias)

    @rule(alias=worker, number=statement)
    def turn_and_lose_the_connection(self, alias: str, number: int) -> None:
        with lost_connection(alias, number):
            self._guarded(alias, self.workers[alias].turn)

    @rule(alias=worker, number=statement)
    def turn_and_lose_an_answer(self, alias: str, number: int) -> None:
        with lost_answer(alias, number):
            self._guarded(alias, self.workers[alias].turn)
        # It may have begun a transaction, which ends with the connection.
        connections[alias].close()

    @rule(alias=worker, number=st.integers(1, 6))
    def turn_and_lose_a_commit(self, alias: str, number: int) -> None:
        with lost_commit(alias, number):
            self._guarded(alias, self.workers[alias].turn)

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(alias=worker, number=statement, what=interruptions, one=some)
    def turn_and_be_interrupted(self, alias: str, number: int, what: str, one: int) -> None:
        """Between two statements of one worker, something happens on another connection."""
        (other,) = set(WORKERS) - {alias}
        actions: dict[str, Callable[[], Any]] = {
            "turn": lambda: self._guarded(other, self.workers[other].turn),
            "keep house": lambda: self._guarded(other, self.workers[other].do_housekeeping),
            "save": lambda: self._host(lambda: self._save(one)),
            "log in": lambda: self._host(lambda: self._log_in(one)),
            "get only changes": lambda: self._guarded(
                OPERATOR, lambda: ClientEndpoint.objects.update(only_changes=bool(one % 2))
            ),
            "delete": lambda: self._host(lambda: self._member(one).delete()),
            "move out": lambda: self._host(lambda: self._save(one, None)),
            "move in": lambda: self._host(lambda: self._save(one, "north")),
            "narrow": lambda: self._change_audience(one, ["south"]),
            "widen": lambda: self._change_audience(one, None),
            "disable": lambda: self._switch(one, False),
            "enable": lambda: self._switch(one, True),
            "redeliver": self._redeliver,
            "resend": lambda: self._resend(one, None),
            "withdraw": lambda: self._withdraw(one),
            "prune": lambda: self._prune(bodies=False),
            "hold an answer for 3 s": lambda: self._pass_time(3, processed=False),
            "hold an answer for 20 s": lambda: self._pass_time(20, processed=True),
        }
        self.wire.is_disturbed = True
        with at_statement(alias, number, actions[what]):
            self._guarded(alias, self.workers[alias].turn)
        self.wire.is_disturbed = False

    @rule(alias=worker)
    def turn_with_slow_connections(self, alias: str) -> None:
        """What it begins to send is not written at once."""
        self.wire.is_slow = True
        self._guarded(alias, self.workers[alias].turn)
        self.wire.is_slow = False

    @precondition(lambda self: self.wire.unwritten)
    @rule(one=some, heedless=st.sampled_from([False, False, True]))
    def write(self, one: int, heedless: bool) -> None:
        """A connection stands; ``heedless`` stood still between the look at the clock and the write."""
        self._write(_one_of(self.wire.unwritten, one), heedless=heedless)

    @precondition(lambda self: self.is_host_free and self.members)
    @rule(alias=worker, one=some, answer=st.sampled_from(["ok", "ok", *ANSWERS]), heedless=st.booleans())
    def stand_still_before_the_write(self, alias: str, one: int, answer: str, heedless: bool) -> None:
        """A worker stands still for longer than its lease lasts, while the other one sends a newer state."""
        (other,) = (worker for worker in self.workers.values() if worker.alias != alias)
        self._host(lambda: self._save(one))
        self.turn_with_slow_connections(alias)
        for flight in self.workers[alias].flights[:]:
            if flight not in self.wire.unwritten or flight.pair[1] not in self.members:
                continue
            self._pass_time(20, processed=True)
            self._guarded(other.alias, other.do_housekeeping)
            self._host(lambda flight=flight: self._save(self.members.index(flight.pair[1])))
            for _ in range(MOST_PROFILES):
                self._guarded(other.alias, other.turn)
                for newer in [newer for newer in other.flights if newer.result is None]:
                    self.wire.decide(newer, answer if newer.pair == flight.pair else "ok")
                    other.land(newer)
            self._write(flight, heedless=heedless)
            if flight.result is None:
                self.wire.decide(flight, "ok")
            self._land(flight)
        self._guarded(alias, self.workers[alias].turn)

    @rule(alias=worker)
    def kill(self, alias: str) -> None:
        self._replace(alias)

    @rule(alias=worker)
    def stop(self, alias: str) -> None:
        worker = self.workers[alias]
        for flight in list(worker.flights):
            self._end(flight)
        self._guarded(alias, worker.stop)
        self._replace(alias)

    # Clients answer

    @precondition(lambda self: self.wire.undecided)
    @rule(one=some, answer=answers)
    def decide(self, one: int, answer: str) -> None:
        self.wire.decide(_one_of(self.wire.undecided, one), answer)

    @precondition(lambda self: self.wire.undecided)
    @rule(answer=st.sampled_from(["error", "reset", "ok"]))
    def answer_all_alike(self, answer: str) -> None:
        for flight in self.wire.undecided:
            self.wire.decide(flight, answer)
            self._land(flight)

    @precondition(lambda self: self.wire.decided)
    @rule(one=some)
    def land(self, one: int) -> None:
        self._land(_one_of(self.wire.decided, one))

    # Time passes

    @rule(seconds=st.sampled_from([0.5, 3, 10, 20, 46, 61, 700, 3600, 8 * 3600]), processed=st.booleans())
    def pass_time(self, seconds: float, processed: bool) -> None:
        if not self.is_host_free and seconds > 60:
            # Whoever keeps a transaction open for an hour has other troubles.
            self.end_the_long_transaction(commit=processed)
        self._pass_time(seconds, processed=processed)

    # Operators operate

    @rule(one=some, active=st.booleans())
    def switch(self, one: int, active: bool) -> None:
        self._switch(one, active)

    @rule()
    def redeliver(self) -> None:
        self._redeliver()

    @precondition(lambda self: self.members)
    @rule(one=some, later=st.booleans())
    def resend(self, one: int, later: bool) -> None:
        self._resend(one, db_now(OPERATOR) + timedelta(minutes=30) if later else None)

    @rule(one=some)
    def withdraw(self, one: int) -> None:
        self._withdraw(one)

    @rule(bodies=st.booleans())
    def prune(self, bodies: bool) -> None:
        self._prune(bodies=bodies)

    @rule(one=some, ordering=st.sampled_from(Ordering.values))
    def change_the_ordering(self, one: int, ordering: str) -> None:
        chosen = ClientEndpoint.objects.filter(pk=_one_of(sorted(self.caps), one))
        # On MariaDB whoever records deliveries holds the endpoints' rows until the commit.
        self._guarded(OPERATOR, lambda: chosen.update(ordering=ordering))

    @rule(one=some, change=contents)
    def change_what_counts_as_a_change(self, one: int, change: dict[str, Any]) -> None:
        chosen = ClientEndpoint.objects.filter(pk=_one_of(sorted(self.caps), one))
        self._guarded(OPERATOR, lambda: chosen.update(**change))

    @rule(one=some, brandings=audiences)
    def change_the_audience(self, one: int, brandings: list[str] | None) -> None:
        self._change_audience(one, brandings)

    # The promise

    @invariant()
    def rows_and_requests_keep_the_promise(self) -> None:
        self.members = list(UserProfile.objects.order_by("pk").values_list("pk", flat=True))
        promises.columns_agree_with_the_status()
        promises.no_pair_has_two_in_flight(self.wire)
        promises.the_cap_holds(self.wire, self.caps)
        promises.clients_never_saw_older_after_newer(self.wire)
        promises.late_acceptances_are_known(self.wire, [*self.workers["first"].told, *self.workers["second"].told])
        # Kept, because what was pruned had to keep to its policy too.
        self.policies |= {
            row.pk: retry.policy(row.endpoint.retry_policy, conf.current().RETRY_POLICIES)
            for row in Delivery.objects.select_related("endpoint")
        }
        promises.attempts_stay_within_the_schedule(self.wire, self.policies)

    def teardown(self) -> None:
        try:
            if self.caps:
                self._come_to_rest()
                promises.every_attempt_is_in_the_log()
                promises.nothing_is_missing(self.wire)
        finally:
            self.long_transaction.close()
            self._clock.close()
            _empty_tables()

    def _come_to_rest(self) -> None:
        """From now on everybody is well."""
        if not self.is_host_free:
            self.end_the_long_transaction(commit=True)
        self._empty_the_outbox()
        self._move_clock_to(db_now(OPERATOR) + timedelta(minutes=90))
        self._empty_the_outbox()

    def _empty_the_outbox(self) -> None:
        for _ in range(300):
            # Again and again: a 410 that was on its way switches an endpoint off when it arrives.
            self._switch_all_on()
            for worker in self.workers.values():
                worker.do_housekeeping()
            self._work()
            for flight in list(self.wire.flights):
                self._end(flight)
            # Before time goes on: a verdict that comes after its lease is refused, and the client's yes forgotten.
            self._work()
            idle = all(worker.pipeline.is_idle for worker in self.workers.values())
            all_on = not ClientEndpoint.objects.filter(is_active=False).exists()
            if idle and all_on and not Delivery.objects.live().exists():
                return
            if not self.wire.flights:
                self._move_clock_to(self._next_event())
        raise AssertionError(f"It never comes to rest: {list(Delivery.objects.live().values())}")

    def _work(self) -> None:
        for worker in self.workers.values():
            for _ in range(MOST_TURNS):
                if not worker.turn():
                    break
                self.rows_and_requests_keep_the_promise()
            else:
                raise AssertionError(f"It works for ever: {list(Delivery.objects.live().values())}")

    def _next_event(self) -> datetime:
        live = Delivery.objects.live()
        moments = [
            *live.values_list("next_attempt_at", flat=True),
            *live.values_list("leased_until", flat=True),
            *EndpointHealth.objects.values_list("rests_until", flat=True),
        ]
        now = db_now(OPERATOR)
        later = [moment for moment in moments if moment is not None and moment > now]
        return min(later, default=now) + timedelta(seconds=0.6)

    # Small helpers

    def _pass_time(self, seconds: float, *, processed: bool) -> None:
        self._move_clock_to(db_now(OPERATOR) + timedelta(seconds=seconds))
        self.wire.time_out(processed=processed)

    def _move_clock_to(self, moment: datetime) -> None:
        self._clock.close()
        self._clock.enter_context(stopped(moment))

    def _city(self) -> str:
        self.cities += 1
        return f"city {self.cities}"

    @property
    def is_host_free(self) -> bool:
        return not connections[HOST].in_atomic_block

    def _member(self, number: int) -> UserProfile:
        return UserProfile.objects.using(HOST).get(pk=_one_of(self.members, number))

    def _save(self, number: int, branding: str | None = "the same", *, city: str = "") -> None:
        member = self._member(number)
        member.city = city or self._city()
        if branding != "the same":
            member.client_branding_id = branding
        member.save()

    def _log_in(self, number: int) -> None:
        member = self._member(number)
        member.date_last_login = db_now(HOST)
        member.save()

    def _host(self, action: Callable[[], Any]) -> None:
        """Where another actor is in the middle of something, the host would have to wait: it gives up instead."""
        with suppress(DatabaseError, UserProfile.DoesNotExist):
            action()

    def _guarded(self, alias: str, step: Callable[[], Any]) -> None:
        """As the worker's loop does: whatever the database does, the worker goes on with a new connection."""
        try:
            step()
        except (DatabaseError, InterfaceError):
            connections[alias].close()

    def _end(self, flight: Flight) -> None:
        """All goes well with it."""
        if flight.result is None and not flight.is_written:
            self._write(flight)
        if flight.result is None:
            self.wire.decide(flight, "ok")
        self._land(flight)

    def _write(self, flight: Flight, *, heedless: bool = False) -> None:
        for worker in self.workers.values():
            if flight in worker.flights:
                worker.write(flight, heedless=heedless)

    def _land(self, flight: Flight) -> None:
        for worker in self.workers.values():
            if flight in worker.flights:
                worker.land(flight)

    def _replace(self, alias: str) -> None:
        self.workers[alias].vanish()
        self.workers[alias] = PlayedWorker(alias, self.wire)

    def _switch(self, number: int, active: bool) -> None:
        rows = ClientEndpoint.objects.filter(pk=_one_of(sorted(self.caps), number))
        self._guarded(OPERATOR, lambda: rows.update(is_active=active))

    def _switch_all_on(self) -> None:
        for endpoint in ClientEndpoint.objects.filter(is_active=False):
            ClientEndpoint.objects.filter(pk=endpoint.pk).update(is_active=True)

    def _change_audience(self, number: int, brandings: list[str] | None) -> None:
        endpoint = ClientEndpoint.objects.get(pk=_one_of(sorted(self.caps), number))
        self._guarded(OPERATOR, lambda: self._note_entered(endpoint, brandings))

    def _note_entered(self, endpoint: ClientEndpoint, brandings: list[str] | None) -> None:
        held = UserProfile.objects.in_audience_of(endpoint.pk)
        before = set(held.values_list("pk", flat=True))
        endpoint.set_audience(brandings)
        for pk, state in held.exclude(pk__in=before).values_list("pk", "changed_sequence"):
            self.wire.left_out[endpoint.pk, pk] = state

    def _redeliver(self) -> None:
        ids = list(Delivery.objects.values_list("pk", flat=True))
        self._guarded(OPERATOR, lambda: reopen.redeliver(ids, using=OPERATOR))

    def _resend(self, number: int, due_at: datetime | None) -> None:
        one = _one_of(self.members, number)
        self._guarded(OPERATOR, lambda: resend.record([one], using=OPERATOR, due_at=due_at))

    def _withdraw(self, number: int) -> None:
        waiting = list(Delivery.objects.filter(status=DeliveryStatus.PENDING, profile__isnull=False).order_by("pk"))
        if waiting:
            row = _one_of(waiting, number)
            self._guarded(OPERATOR, lambda: self._note_withdrawn(row))

    def _note_withdrawn(self, row: Delivery) -> None:
        state = UserProfile.objects.values_list("changed_sequence", flat=True).get(pk=row.profile_id)
        if withdraw.cancel([row.pk], using=OPERATOR):
            self.wire.left_out[row.endpoint_id, row.profile_id or 0] = state

    def _prune(self, *, bodies: bool) -> None:
        """All that is over, but for failures: they are how operators see what is missing."""
        soon = db_now(OPERATOR) + timedelta(seconds=1)
        runs: list[Iterator[Any]] = [
            prune.delete_ended(soon, over, using=OPERATOR)
            for over in (DeliveryStatus.SUCCEEDED, DeliveryStatus.CANCELLED)
        ]
        if bodies:
            runs.append(prune.drop_bodies(dict.fromkeys(DeliveryStatus, soon), using=OPERATOR))
        for run in runs:
            self._guarded(OPERATOR, lambda run=run: list(run))


class _RollBack(Exception):  # noqa: N818  (it takes a transaction back, and is no error)
    """Raised to take a transaction back."""


def _one_of(items: list[Any], number: int) -> Any:
    return items[number % len(items)]


def _empty_tables() -> None:
    """Ids begin anew too, so that the same steps lead to the same rows."""
    connection = connections[OPERATOR]
    tables = [model._meta.db_table for model in apps.get_app_config("live_push").get_models()]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, reset_sequences=True))
