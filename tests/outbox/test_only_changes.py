"""An endpoint that gets only changes is not sent what it has already, and loses nothing by it."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from live_push.admin.deliveries.story import what_happens_next
from live_push.contract.options import PayloadOptions
from live_push.delivery.transport import Request
from live_push.engines import starting
from live_push.models import (
    Attempt,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    EndpointHour,
    Push,
    UserProfile,
)
from live_push.models.clock import db_now, stopped
from live_push.models.content_version import DECIDE_CONTENT
from live_push.outbox import reopen, resend, uncertain, unchanged
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.claimed_delivery import ClaimedDelivery
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections, lost_commit
from tests.support import OK, START, deliver, statements, status

pytestmark = pytest.mark.django_db(transaction=True)

LOGINS_IGNORED = ["dateLastUpdated", "dateLastLogin"]
LOGIN = datetime(2026, 5, 1, tzinfo=UTC)


def endpoint(**more: Any) -> ClientEndpoint:
    """An endpoint that gets only changes, and for which a login is none."""
    return ClientEndpointFactory(**{"only_changes": True, "ignored_keys": LOGINS_IGNORED, **more})


def accepted_member(**more: Any) -> UserProfile:
    """A member whom all endpoints have accepted."""
    profile = UserProfileFactory(city="Bern", **more)
    deliver()
    return profile


def log_in(profile: UserProfile) -> None:
    profile.date_last_login = (profile.date_last_login or LOGIN) + timedelta(hours=1)
    profile.save(update_fields=["date_last_login"])


def move(profile: UserProfile, city: str) -> None:
    profile.city = city
    profile.save(update_fields=["city"])


def cities(requests: list[Request]) -> list[str]:
    return [json.loads(request.body)["city"] for request in requests]


def claimed() -> list[ClaimedDelivery]:
    """What a worker claims now."""
    return [row for share in claim(ClaimRequest(name="w"), using="default") for row in share.deliveries]


def reasons() -> list[tuple[str, str]]:
    return list(Delivery.objects.order_by("pk").values_list("status", "reason"))


class TestAnUpdateThatHoldsNothingNew:
    def test_is_not_sent_and_ends_as_unchanged(self) -> None:
        endpoint()
        log_in(accepted_member())
        assert deliver() == []
        assert reasons() == [("succeeded", ""), ("cancelled", "unchanged")]
        left_out = Delivery.objects.get(reason="unchanged")
        assert (left_out.attempts_made, left_out.run_attempts, left_out.lease_token, left_out.leased_until) == (
            (0, 0, None, None)
        )
        assert left_out.ended_at is not None
        assert Attempt.objects.count() == 1

    def test_moves_the_confirmation_on_so_that_the_endpoint_is_not_behind(self) -> None:
        told = endpoint()
        profile = accepted_member()
        before = Confirmation.objects.get()
        log_in(profile)
        deliver()
        push, confirmation = Push.objects.latest("pk"), Confirmation.objects.get()
        assert (confirmation.sequence, confirmation.digest) == (push.sequence, push.digest)
        assert confirmation.confirmed_at == before.confirmed_at
        assert not UserProfile.objects.behind_or_never_sent(told.pk).exists()

    def test_is_counted_in_the_hour_but_not_as_an_attempt(self) -> None:
        told = endpoint()
        profile = accepted_member()
        for _ in range(3):
            log_in(profile)
            deliver()
        assert sum(EndpointHour.objects.values_list("left_out", flat=True)) == 3
        assert sum(EndpointHour.objects.values_list("attempts", flat=True)) == 1
        assert set(EndpointHour.objects.values_list("endpoint", flat=True)) == {told.pk}

    def test_lets_the_next_change_of_the_member_go_at_once(self) -> None:
        endpoint(ordering="strict")
        profile = accepted_member()
        log_in(profile)
        move(profile, "Rome")
        log_in(profile)
        assert cities(deliver()) == ["Rome"]
        assert [reason for _, reason in reasons()] == ["", "unchanged", "", "unchanged"]

    def test_is_sent_where_the_key_is_not_ignored(self) -> None:
        endpoint(ignored_keys=["dateLastUpdated"])
        log_in(accepted_member())
        assert len(deliver()) == 1

    def test_is_sent_to_an_endpoint_without_the_option(self) -> None:
        ClientEndpointFactory(ignored_keys=LOGINS_IGNORED)
        log_in(accepted_member())
        assert len(deliver()) == 1
        assert Confirmation.objects.get().content_digest == ""

    def test_is_compared_with_the_body_for_this_endpoint(self) -> None:
        endpoint(withheld_fields=["city"])
        move(accepted_member(), "Rome")
        assert deliver() == []

    def test_may_be_a_change_there_and_back_that_was_never_sent(self) -> None:
        endpoint(ordering="latest_only")
        profile = accepted_member()
        move(profile, "Rome")
        move(profile, "Bern")
        assert deliver() == []
        assert [reason for _, reason in reasons()] == ["", "superseded", "unchanged"]

    def test_may_come_from_a_bulk_write_whose_bodies_are_drawn_later(self) -> None:
        endpoint()
        profile = accepted_member()
        resend.record([profile.pk], using="default", trigger="updated")
        assert deliver() == []
        assert Confirmation.objects.get().sequence == Push.objects.latest("pk").sequence

    def test_costs_the_endpoint_nothing_of_its_rate_limit(self) -> None:
        endpoint(rate_limit_per_second=1)
        with stopped(START):
            profile = accepted_member()
        with stopped(START + timedelta(seconds=5)):
            for _ in range(3):
                log_in(profile)
            move(profile, "Rome")
            assert cities(deliver()) == ["Rome"]

    def test_is_not_the_probe_of_an_endpoint_that_failed(self) -> None:
        told = endpoint()
        profile, other = accepted_member(), UserProfileFactory(city="Oslo")
        Delivery.objects.filter(status="pending").delete()
        EndpointHealth.objects.filter(pk=told.pk).update(breaker_state="open", failures_in_row=9, rests_until=START)
        log_in(profile)
        move(other, "Rome")
        assert cities(deliver()) == ["Rome"]
        assert EndpointHealth.objects.get().breaker_state == "closed"


class TestNothingIsLeftOut:
    """Where it is not certain that the client has the state as its last one."""

    def test_of_a_member_whom_the_endpoint_never_accepted(self) -> None:
        endpoint()
        UserProfileFactory()
        assert len(deliver()) == 1

    @pytest.mark.parametrize(
        "failure",
        [
            pytest.param(Result(error_code="timeout", request_written=True), id="timeout"),
            pytest.param(status(500), id="500"),
            pytest.param(status(404), id="404"),
        ],
    )
    def test_after_an_attempt_that_failed_and_may_have_been_processed(self, failure: Result) -> None:
        endpoint()
        with stopped(START):
            profile = accepted_member()
            move(profile, "Rome")
            assert len(deliver(failure)) == 1
            move(profile, "Bern")
            assert cities(deliver()) == ["Bern"]
            log_in(profile)
            assert deliver() == []

    def test_by_a_resend(self) -> None:
        told = endpoint()
        profile = accepted_member()
        resend.record([profile.pk], using="default", endpoint_ids=[told.pk])
        assert len(deliver()) == 1

    def test_by_a_resend_whose_body_another_endpoint_has_drawn(self) -> None:
        ClientEndpointFactory()
        endpoint()
        profile = accepted_member()
        resend.record([profile.pk], using="default")
        assert len(deliver()) == 2

    @pytest.mark.parametrize("ordering", ["in_order", "latest_only", "strict"])
    def test_by_a_resend_that_gave_way_to_an_update_without_changes(self, ordering: str) -> None:
        """The client may have lost its data, so the update is sent in place of the resend."""
        told = endpoint(ordering=ordering)
        profile = accepted_member()
        resend.record([profile.pk], using="default", endpoint_ids=[told.pk])
        log_in(profile)
        assert len(deliver()) == 1
        assert [reason for _, reason in reasons()] == ["", "superseded", ""]

    def test_by_a_drawn_resend_that_gave_way_to_an_update_without_changes(self) -> None:
        told, other = endpoint(ordering="latest_only"), ClientEndpointFactory()
        profile = accepted_member()
        resend.record([profile.pk], using="default")
        waiting = Delivery.objects.filter(endpoint=told, status="pending")
        waiting.update(next_attempt_at=db_now("default") + timedelta(hours=1))
        assert len(deliver()) == 1
        log_in(profile)
        Delivery.objects.filter(endpoint=other).delete()
        assert len(deliver()) == 1

    def test_by_a_redelivered_push_that_gave_way_to_an_update_without_changes(self) -> None:
        endpoint(ordering="latest_only")
        with stopped(START):
            profile = accepted_member()
            log_in(profile)
            Delivery.objects.filter(status="pending").update(
                status="cancelled", reason="withdrawn", next_attempt_at=None
            )
            reopen.redeliver([Delivery.objects.latest("pk").pk], using="default")
            log_in(profile)
            assert len(deliver()) == 1

    def test_by_a_redelivered_push(self) -> None:
        endpoint()
        with stopped(START):
            profile = accepted_member()
            log_in(profile)
            Delivery.objects.filter(status="pending").update(
                status="cancelled", reason="withdrawn", next_attempt_at=None
            )
            reopen.redeliver([Delivery.objects.latest("pk").pk], using="default")
            assert len(deliver()) == 1

    def test_by_the_resends_of_a_resumed_endpoint(self) -> None:
        told = endpoint()
        profile = accepted_member()
        told.is_active = False
        told.save()
        log_in(profile)
        told.is_active = True
        told.save()
        assert len(deliver()) == 1

    def test_while_a_client_may_hold_an_older_state(self) -> None:
        endpoint()
        profile = accepted_member()
        Confirmation.objects.update(uncertain_since=db_now("default"))
        log_in(profile)
        assert len(deliver()) == 1
        assert Confirmation.objects.get().uncertain_since is None

    def test_if_the_worker_read_the_endpoint_before_a_change_of_its_options(self) -> None:
        told = endpoint(withheld_fields=["city"])
        move(accepted_member(), "Rome")
        waiting = claimed()
        ClientEndpoint.objects.filter(pk=told.pk).update(withheld_fields=[])
        assert unchanged.end_unchanged(waiting, using="default") == []

    def test_of_a_member_outside_the_audience_for_another_reason(self) -> None:
        told = endpoint()
        told.set_audience(["north"])
        profile = accepted_member(client_branding_id="north")
        log_in(profile)
        told.set_audience(["south"])
        assert deliver() == []
        assert reasons() == [("succeeded", ""), ("cancelled", "audience")]

    def test_if_the_lease_was_lost(self) -> None:
        endpoint()
        log_in(accepted_member())
        waiting = claimed()
        Delivery.objects.filter(status="sending").update(lease_token=uuid.uuid4())
        assert unchanged.end_unchanged(waiting, using="default") == []

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks on rows.")
    def test_while_the_project_holds_the_delivery_and_nobody_waits(self) -> None:
        endpoint()
        log_in(accepted_member())
        waiting = claimed()
        with further_connections("host"), transaction.atomic(using="host"):
            if connection.vendor == "mysql":
                # With the 0 of these connections, MariaDB fails instead of skipping a locked row.
                connection.cursor().execute("SET SESSION innodb_lock_wait_timeout = 5")
            Delivery.objects.using("host").select_for_update().get(pk=waiting[0].pk)
            assert unchanged.end_unchanged(waiting, using="default") == []
        assert unchanged.end_unchanged(waiting, using="default") == waiting


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"withheld_fields": ["lastName"]}, id="withheld fields"),
        pytest.param({"null_levels_as_objects": True}, id="null levels"),
        pytest.param({"timeframe_score_alias": True}, id="alias"),
        pytest.param({"mobile_verified_as_date": True}, id="mobile verified"),
        pytest.param({"ignored_keys": ["dateLastUpdated", "dateLastLogin", "lastName"]}, id="ignored keys"),
        pytest.param({"url": "https://new.example.com/push"}, id="url"),
        pytest.param({"extra_headers": {"X-Tenant": "b"}}, id="extra headers"),
    ],
)
@pytest.mark.parametrize("way", ["save", "save of one column", "update"])
def test_after_a_change_of_the_endpoint_each_member_is_sent_once_more(change: dict[str, Any], way: str) -> None:
    told = endpoint()
    profile = accepted_member()
    write(told, change, way)
    log_in(profile)
    assert len(deliver()) == 1
    log_in(profile)
    assert deliver() == []


def test_a_client_whose_ids_are_wanted_from_now_on_is_sent_each_member_once_more() -> None:
    told = endpoint()
    profile = accepted_member()
    write(told, {"capture_third_party_id": True}, "save")
    log_in(profile)
    assert len(deliver(status(200, b'{"third_party_id": "x1"}'))) == 1
    assert UserProfile.objects.get().third_party_id == "x1"


@pytest.mark.parametrize("way", ["save", "save of one column", "update"])
def test_a_new_name_of_the_endpoint_sends_nothing_once_more(way: str) -> None:
    told = endpoint()
    profile = accepted_member()
    write(told, {"name": "another", "max_in_flight": 3}, way)
    log_in(profile)
    assert deliver() == []


def test_every_option_that_changes_a_body_gives_the_endpoint_a_new_content_version() -> None:
    assert {field.name for field in dataclasses.fields(PayloadOptions)} <= DECIDE_CONTENT


def test_a_copy_in_memory_does_not_bring_back_what_was_accepted_under_other_options() -> None:
    told = endpoint()
    copy = ClientEndpoint.objects.get()
    profile = accepted_member()
    for is_on in (False, True):
        write(told, {"only_changes": is_on}, "save")
    copy.name = "another"
    copy.save()
    log_in(profile)
    assert len(deliver()) == 1


def test_while_the_option_was_off_the_client_may_have_received_other_states() -> None:
    told = endpoint()
    with stopped(START):
        profile = accepted_member()
        write(told, {"only_changes": False}, "save")
        move(profile, "Rome")
        deliver(Result(error_code="timeout", request_written=True))
        write(told, {"only_changes": True}, "save")
        move(profile, "Bern")
        assert cities(deliver()) == ["Bern"]


def write(told: ClientEndpoint, change: dict[str, Any], way: str) -> None:
    """Change columns of an endpoint in one of the ways in which a project can."""
    if way == "update":
        ClientEndpoint.objects.filter(pk=told.pk).update(**change)
        return
    for name, value in change.items():
        setattr(told, name, value)
    told.save(update_fields=list(change) if way == "save of one column" else None)


class TestAPairThatBecameUncertain:
    def test_is_healed_although_a_later_update_was_left_out(self) -> None:
        endpoint()
        profile = accepted_member()
        log_in(profile)
        deliver()
        left_out = Delivery.objects.get(reason="unchanged")
        # Another worker's late verdict marks the pair with a time before the update that was left out.
        Confirmation.objects.update(uncertain_since=left_out.created_at - timedelta(microseconds=1))
        assert uncertain.heal(using="default") == 1
        assert len(deliver()) == 1
        assert Confirmation.objects.get().uncertain_since is None


def test_a_batch_costs_no_more_statements_than_one_delivery() -> None:
    endpoint()
    profiles = UserProfileFactory.create_batch(8)
    deliver()
    counts = []
    for logged_in in (profiles[:1], profiles):
        for profile in logged_in:
            log_in(profile)
        waiting = claimed()
        counts.append(len(statements(lambda waiting=waiting: unchanged.end_unchanged(waiting, using="default"))))
        assert not Delivery.objects.live().exists()
    assert counts[0] == counts[1]


class TestALeftOutDelivery:
    def test_is_not_redelivered_because_the_endpoint_has_its_state(self) -> None:
        endpoint()
        log_in(accepted_member())
        deliver()
        (skipped,) = reopen.redeliver([Delivery.objects.get(reason="unchanged").pk], using="default").skipped
        assert skipped.why == "the endpoint has this state, apart from ignored keys; use resend to send it"

    def test_is_neither_sent_nor_given_back_if_the_worker_does_not_learn_of_the_commit(self) -> None:
        endpoint()
        log_in(accepted_member())
        waiting = claimed()
        with pytest.raises(OperationalError), lost_commit("default", number=1):
            unchanged.end_unchanged(waiting, using="default")
        assert unchanged.end_unchanged(waiting, using="default") == []
        assert starting.start_current(waiting, [], using="default", patient=()) == []
        assert reasons() == [("succeeded", ""), ("cancelled", "unchanged")]

    def test_says_what_happens_next(self) -> None:
        endpoint()
        log_in(accepted_member())
        deliver()
        sentence = what_happens_next(Delivery.objects.get(reason="unchanged"), START)
        assert sentence.startswith("Nothing: the endpoint has this state, apart from its ignored keys.")


def test_while_an_attempt_is_under_way_it_is_not_known_what_the_client_has() -> None:
    endpoint()
    profile = accepted_member()
    move(profile, "Rome")
    seen: list[str] = []

    def look(request: Request) -> Result:
        seen.append(Confirmation.objects.get().content_digest)
        return OK

    deliver(look)
    assert seen == [""]
    assert len(Confirmation.objects.get().content_digest) == 64
