"""Which members an endpoint receives: judged when a change is recorded, and again when it is sent."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from live_push import api
from live_push.engines import starting
from live_push.engines.base import do_housekeeping
from live_push.figures.convergence import convergence
from live_push.models import (
    Audience,
    ClientEndpoint,
    Confirmation,
    Delivery,
    EndpointHealth,
    ListedBranding,
    Push,
    UserProfile,
)
from live_push.models.clock import db_now, stopped
from live_push.outbox import erasure_report, idle, outside, resend, uncertain
from live_push.outbox.behind import profiles_behind
from live_push.outbox.catch_up import catch_up
from live_push.outbox.claim import claim
from live_push.outbox.claim_request import ClaimRequest
from live_push.outbox.start import start
from tests.engines.test_pipeline import pipeline
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.state_machine.connections import further_connections
from tests.support import START, ScriptedTransport, deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


def listed(*brandings: str, **more: Any) -> ClientEndpoint:
    """An endpoint that receives the members with these brandings."""
    endpoint = ClientEndpointFactory(**more)
    endpoint.set_audience(brandings)
    return endpoint


def recipients() -> list[tuple[str | None, str]]:
    """The branding of each member with a delivery, and its endpoint."""
    rows = Delivery.objects.order_by("profile", "endpoint__name")
    return list(rows.values_list("profile__client_branding_id", "endpoint__name"))


class TestRecording:
    def test_a_push_goes_to_the_endpoints_whose_audience_holds_the_member(self) -> None:
        listed("north", name="north")
        listed("south", "west", name="south")
        ClientEndpointFactory(name="all")
        for branding in ("north", "west", "east", None):
            UserProfileFactory(client_branding_id=branding)
        assert recipients() == [
            *(("north", "all"), ("north", "north")),
            *(("west", "all"), ("west", "south")),
            *(("east", "all"), (None, "all")),
        ]

    def test_brandings_are_compared_byte_by_byte(self) -> None:
        listed("North")
        for branding in ("north", "North ", "NORTH"):
            UserProfileFactory(client_branding_id=branding)
        assert not Push.objects.exists()

    def test_a_push_that_no_endpoint_receives_is_not_kept(self) -> None:
        listed("north")
        UserProfileFactory(client_branding_id="south")
        assert not Push.objects.exists()

    def test_an_empty_list_holds_no_member(self) -> None:
        listed()
        UserProfileFactory(client_branding_id="north")
        UserProfileFactory(client_branding_id=None)
        UserProfileFactory(client_branding_id="")
        assert not Push.objects.exists()

    def test_of_a_bulk_write_only_wanted_pushes_are_kept(self) -> None:
        listed("north", name="north")
        UserProfile.objects.bulk_create(
            UserProfileFactory.build(client_branding_id=branding) for branding in ("north", "south", "north")
        )
        assert recipients() == [("north", "north")] * 2
        assert Push.objects.count() == 2

    def test_the_update_that_moves_a_member_in_is_recorded(self) -> None:
        listed("north", name="north")
        member = UserProfileFactory(client_branding_id="south")
        member.client_branding_id = "north"
        member.save()
        assert recipients() == [("north", "north")]

    def test_the_update_that_moves_a_member_out_is_not_recorded(self) -> None:
        listed("north", name="north")
        member = UserProfileFactory(client_branding_id="north")
        deliver()
        UserProfile.objects.filter(pk=member.pk).update(client_branding_id="south")
        assert Push.objects.count() == 1

    def test_the_last_write_of_a_transaction_decides(self) -> None:
        listed("north", name="north")
        listed("south", name="south")
        member = UserProfileFactory.build(client_branding_id="north")
        with transaction.atomic():
            for branding in ("north", "east", "south"):
                member.client_branding_id = branding
                member.save()
        assert recipients() == [("south", "south")]
        assert Push.objects.count() == 1

    def test_a_save_takes_as_many_statements_with_twenty_audiences_as_without(self) -> None:
        member = UserProfileFactory(client_branding_id="b1")
        for number in range(20):
            ClientEndpointFactory(name=f"everyone {number}")
        before = len(statements(member.save))
        for number, endpoint in enumerate(ClientEndpoint.objects.order_by("pk")[:19]):
            endpoint.set_audience([f"b{number}", f"b{number + 1}"])
        Push.objects.all().delete()
        assert len(statements(member.save)) == before
        assert Delivery.objects.count() == 3


class TestResending:
    def test_a_resend_reaches_only_members_in_the_audience(self) -> None:
        members = [UserProfileFactory(client_branding_id=branding) for branding in ("north", "south", None)]
        endpoint = listed("north", name="north")
        ids = [member.pk for member in members]
        assert resend.record(ids, using="default") == 1
        assert resend.record(ids, using="default", endpoint_ids=[endpoint.pk]) == 1
        assert recipients() == [("north", "north")] * 2
        assert Push.objects.count() == 2

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
    def test_a_push_of_a_member_who_leaves_meanwhile_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        listed("north")
        left, stays = UserProfileFactory.create_batch(2, client_branding_id="north")
        Push.objects.all().delete()
        fan_out = resend.fan_out

        def leave_first(*args: Any, **more: Any) -> int:
            UserProfile._base_manager.using("host").filter(pk=left.pk).update(client_branding_id="south")
            return fan_out(*args, **more)

        monkeypatch.setattr(resend, "fan_out", leave_first)
        with further_connections("host"):
            assert resend.record([left.pk, stays.pk], using="default") == 1
            assert list(Push.objects.values_list("profile", flat=True)) == [stays.pk]


class TestStarting:
    def test_what_waits_is_not_sent_after_the_member_left(self) -> None:
        listed("north", name="north")
        ClientEndpointFactory(name="all")
        member = UserProfileFactory(client_branding_id="north")
        UserProfile._base_manager.filter(pk=member.pk).update(client_branding_id="south")
        assert len(deliver()) == 1
        ended = Delivery.objects.get(endpoint__name="north")
        assert (ended.status, ended.reason, ended.attempts_made) == ("cancelled", "audience", 0)
        assert ended.ended_at is not None
        assert ended.lease_token is None
        assert Delivery.objects.get(endpoint__name="all").status == "succeeded"

    def test_what_waits_is_not_sent_after_the_audience_was_narrowed(self) -> None:
        endpoint = listed("north", "south")
        UserProfileFactory(client_branding_id="north")
        UserProfileFactory(client_branding_id="south")
        endpoint.set_audience(["south"])
        assert len(deliver()) == 1
        reasons = Delivery.objects.order_by("pk").values_list("status", "reason")
        assert list(reasons) == [("cancelled", "audience"), ("succeeded", "")]

    def test_what_waits_is_sent_after_the_member_came_back(self) -> None:
        listed("north")
        member = UserProfileFactory(client_branding_id="north")
        for branding in ("south", "north"):
            UserProfile._base_manager.filter(pk=member.pk).update(client_branding_id=branding)
        assert len(deliver()) == 1

    def test_an_audience_that_was_narrowed_after_the_claim_is_obeyed(self) -> None:
        endpoint = listed("north", "south")
        UserProfileFactory(client_branding_id="north")
        UserProfileFactory(client_branding_id="south")
        transport = ScriptedTransport()
        with pipeline(transport) as running:
            running._claim(isolated=False)
            endpoint.set_audience(["south"])
            running.run_until_idle()
        assert [json.loads(request.body)["clientBrandingId"] for request in transport.requests] == ["south"]
        assert Delivery.objects.get(profile__client_branding_id="north").reason == "audience"

    def test_a_list_costs_no_further_statement(self) -> None:
        """The start itself judges the members, so that a claim, a start and a settlement stay as many statements."""
        counts = []
        for endpoint in (ClientEndpointFactory(), listed("north")):
            UserProfileFactory.create_batch(3, client_branding_id="north")
            Delivery.objects.exclude(endpoint=endpoint).delete()
            counts.append(len(statements(deliver)))
            assert set(Delivery.objects.values_list("status")) == {("succeeded",)}
        assert counts[0] == counts[1]

    def test_the_outsiders_of_a_batch_are_cancelled_and_the_others_sent(self) -> None:
        listed("north", max_in_flight=8)
        members = UserProfileFactory.create_batch(6, client_branding_id="north")
        UserProfile._base_manager.filter(pk__in=[member.pk for member in members[::2]]).update(client_branding_id=None)
        with pipeline(ScriptedTransport(), threads=16) as running:
            running.run_until_idle()
        reasons = Delivery.objects.order_by("profile").values_list("status", flat=True)
        assert list(reasons) == ["cancelled", "succeeded"] * 3

    def test_a_probe_of_a_member_who_left_makes_room_for_another_at_once(self) -> None:
        endpoint = listed("north")
        with stopped(START):
            left, _stays = UserProfileFactory.create_batch(2, client_branding_id="north")
            Delivery.objects.exclude(profile=left).update(next_attempt_at=START + timedelta(seconds=1))
            UserProfile._base_manager.filter(pk=left.pk).update(client_branding_id="south")
            EndpointHealth.objects.update(breaker_state="open", rests_until=START, rest_seconds=30)
            assert deliver() == []
        assert EndpointHealth.objects.get(pk=endpoint.pk).breaker_state == "open"
        with stopped(START + timedelta(seconds=1)):
            assert len(deliver()) == 1

    def test_what_was_started_for_a_member_who_leaves_before_that_is_known_is_undone_and_cancelled(self) -> None:
        """The answer to the statement that started it was lost, or is read by a second statement."""
        listed("north")
        UserProfileFactory(client_branding_id="north")
        claimed = claim(ClaimRequest(name="w"), using="default")[0].deliveries
        start(claimed, using="default")
        UserProfile._base_manager.update(client_branding_id="south")
        assert starting.start_current(claimed, [], using="default", patient=()) == []
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.attempts_made, delivery.run_started_at) == ("pending", 0, None)
        assert deliver() == []
        assert Delivery.objects.get().reason == "audience"

    def test_the_next_of_a_pair_may_go_after_an_older_one_was_left_out(self) -> None:
        listed("north", ordering="strict")
        member = UserProfileFactory(client_branding_id="north")
        claimed = claim(ClaimRequest(name="w"), using="default")[0].deliveries
        UserProfile._base_manager.update(client_branding_id="south")
        assert starting.start_current(claimed, [], using="default", patient=()) == []
        member.client_branding_id = "north"
        member.save()
        assert len(deliver()) == 1
        assert list(Delivery.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "succeeded"]


class TestChanging:
    def test_it_is_everyone_by_default_and_again_with_none(self) -> None:
        endpoint = ClientEndpointFactory()
        assert (endpoint.audience, endpoint.brandings) == (Audience.ALL, [])
        endpoint.set_audience(["north", "south", "north"])
        assert (endpoint.audience, endpoint.brandings) == (Audience.LISTED, ["north", "south"])
        endpoint.set_audience(None)
        assert (endpoint.audience, endpoint.brandings) == (Audience.ALL, [])

    def test_each_change_gives_the_endpoint_a_new_version(self) -> None:
        endpoint = ClientEndpointFactory()
        versions = set()
        for brandings in (["north"], ["south"], [], None):
            endpoint.set_audience(brandings)
            versions.add(ClientEndpoint.objects.get().version)
        assert len(versions) == 4

    def test_a_copy_in_memory_that_is_saved_later_does_not_change_it_back(self) -> None:
        endpoint = ClientEndpointFactory()
        copies = [endpoint, ClientEndpoint.objects.get(), ClientEndpoint.objects.defer("audience").get()]
        ClientEndpoint.objects.get().set_audience(["north"])
        for copy in copies:
            copy.contact_email = "ops@example.com"
            copy.save()
            assert (copy.audience, ClientEndpoint.objects.get().audience) == (Audience.LISTED, Audience.LISTED)

    def test_a_copy_in_memory_can_change_it_where_that_is_meant(self) -> None:
        endpoint = listed("north")
        copy = ClientEndpoint.objects.get()
        endpoint.set_audience(None)
        copy.set_audience(["south"])
        assert ClientEndpoint.objects.get().audience == Audience.LISTED
        copy.audience = Audience.ALL
        copy.save(update_fields=["contact_email"])
        copy.save()
        endpoint.refresh_from_db()
        assert endpoint.audience == Audience.ALL

    @pytest.mark.parametrize("brandings", [["north", ""], [None], ["x" * 256], [7], ["a\0"]], ids=repr)
    def test_a_branding_that_no_member_can_have_is_refused_and_nothing_is_changed(self, brandings: list[Any]) -> None:
        endpoint = listed("north")
        with pytest.raises(ValidationError):
            endpoint.set_audience(brandings)
        assert ClientEndpoint.objects.get().brandings == ["north"]

    def test_a_text_is_not_taken_for_a_list_of_letters(self) -> None:
        endpoint = ClientEndpointFactory()
        with pytest.raises(TypeError, match="a list of texts"):
            endpoint.set_audience("north")
        assert not ListedBranding.objects.exists()

    def test_only_a_wider_audience_is_looked_after_like_an_activation(self) -> None:
        endpoint = ClientEndpointFactory()
        looks = []
        for brandings in (["north", "south"], ["north"], ["north", "west"], ["west"], ["west"], None):
            EndpointHealth.objects.update(activated_at=None)
            endpoint.set_audience(brandings)
            looks.append(EndpointHealth.objects.get().activated_at is not None)
        assert looks == [False, False, True, False, False, True]


class TestLeavingAndEntering:
    """What of the log and the figures follows a member who moves, and an audience that changes."""

    def test_a_member_who_left_is_not_behind_and_comes_back_as_behind(self) -> None:
        endpoint = listed("north")
        member = UserProfileFactory(client_branding_id="north")
        deliver()
        for branding, numbers in (("south", (0, 0, 0)), ("north", (0, 1, 0))):
            member.client_branding_id = branding
            member.save()
            (figure,) = convergence(using="default")
            assert (figure.confirmed, figure.behind, figure.never_sent) == numbers
            assert UserProfile.objects.behind(endpoint.pk).count() == numbers[1]
        assert Confirmation.objects.count() == 1

    def test_the_stale_are_looked_for_in_the_audience_only(self) -> None:
        endpoint = listed("north", is_active=False)
        north, south = (UserProfileFactory(client_branding_id=branding) for branding in ("north", "south"))
        ids = [north.pk, south.pk]
        for verify in (False, True):
            assert profiles_behind(ids, endpoint, using="default", verify=verify) == [north.pk]
        for member in (north, south):
            Confirmation.objects.create(
                endpoint=endpoint, profile=member, sequence=2**62, confirmed_at=START, digest="old"
            )
        assert profiles_behind(ids, endpoint, using="default", verify=True) == [north.pk]

    def test_the_erasure_register_still_names_the_endpoint_that_a_member_left(self) -> None:
        listed("north", name="north")
        member = UserProfileFactory(client_branding_id="north")
        deliver()
        UserProfile.objects.update(client_branding_id="south")
        Push.objects.all().delete()
        assert erasure_report.recipients(member.pk, using="default") == ["north"]

    def test_activation_sends_only_members_in_the_audience(self) -> None:
        endpoint = listed("north")
        ClientEndpoint.objects.update(is_active=False)
        for branding in ("north", "south"):
            UserProfileFactory(client_branding_id=branding)
        endpoint.is_active = True
        endpoint.save(update_fields=["is_active"])
        assert recipients() == [("north", endpoint.name)]

    def test_a_member_outside_is_not_redelivered_with_a_sentence_that_says_so(self) -> None:
        listed("north")
        member = UserProfileFactory(client_branding_id="north")
        UserProfile._base_manager.update(client_branding_id="south")
        deliver()
        delivery = Delivery.objects.get()
        outcome = api.redeliver([delivery])
        assert (outcome.reopened, [skipped.why for skipped in outcome.skipped]) == (
            [],
            ["its member is outside the endpoint's audience"],
        )
        UserProfile._base_manager.filter(pk=member.pk).update(client_branding_id="north")
        assert api.redeliver([delivery]).reopened == [delivery.pk]

    def test_an_uncertain_member_who_left_is_not_healed(self) -> None:
        listed("north")
        UserProfileFactory(client_branding_id="north")
        deliver()
        Confirmation.objects.update(uncertain_since=START)
        Delivery.objects.all().delete()
        UserProfile._base_manager.update(client_branding_id="south")
        assert uncertain.heal(using="default") == 0
        UserProfile._base_manager.update(client_branding_id="north")
        assert uncertain.heal(using="default") == 1

    def test_an_uncertain_member_is_healed_although_an_earlier_resend_ended_outside(self) -> None:
        endpoint = listed("north")
        UserProfileFactory(client_branding_id="north")
        deliver()
        Confirmation.objects.update(uncertain_since=db_now("default"))
        assert uncertain.heal(using="default") == 1
        endpoint.set_audience(["south"])
        do_housekeeping("default")
        assert Delivery.objects.latest("pk").reason == "audience"
        endpoint.set_audience(["north"])
        do_housekeeping("default")
        assert len(deliver()) == 1
        assert Confirmation.objects.get().uncertain_since is None


class TestTheLateLook:
    """A change under way does not see an audience that is being widened."""

    def look(self, seconds: float) -> int:
        with stopped(START + timedelta(seconds=seconds)):
            return catch_up(using="default")

    def change_under_way(self, endpoint: ClientEndpoint) -> UserProfile:
        """A member whose change was committed after the audience was widened, and did not see it."""
        with stopped(START):
            member: UserProfile = UserProfileFactory(client_branding_id="south")
            endpoint.set_audience(["north", "south"])
        return member

    def test_finds_the_change(self) -> None:
        self.change_under_way(listed("north", name="both"))
        assert (self.look(4), self.look(5)) == (0, 1)
        assert recipients() == [("south", "both")]

    def test_finds_what_ended_because_the_audience_was_narrow_in_between(self) -> None:
        endpoint = listed("north", "south", name="both")
        self.change_under_way(endpoint)
        endpoint.set_audience(["north"])
        with stopped(START):
            deliver()
            assert Delivery.objects.get().reason == "audience"
            endpoint.set_audience(["north", "south"])
        assert self.look(5) == 1

    def test_leaves_out_who_is_outside(self) -> None:
        endpoint = listed("north")
        self.change_under_way(endpoint)
        UserProfile._base_manager.update(client_branding_id="west")
        assert self.look(5) == 0


class TestHousekeeping:
    """What waits for an endpoint whose audience does not hold the member any more is ended."""

    @pytest.fixture
    def endpoint(self) -> ClientEndpoint:
        endpoint = listed("north", "south", "west", name="busy")
        UserProfile.objects.bulk_create(
            UserProfileFactory.build(client_branding_id=branding) for branding in ("north", "south", "west") * 3
        )
        Delivery.objects.update(next_attempt_at=START + timedelta(hours=1))
        return endpoint

    def keep_house(self, seconds: float = 0) -> list[str]:
        """The brandings whose deliveries still wait afterwards."""
        with stopped(START + timedelta(seconds=seconds)):
            do_housekeeping("default")
        waiting = Delivery.objects.filter(status="pending").values_list("profile__client_branding_id", flat=True)
        return sorted(set(waiting))

    def test_nothing_is_ended_while_all_are_inside(self, endpoint: ClientEndpoint) -> None:
        assert self.keep_house() == ["north", "south", "west"]

    def test_a_narrower_audience_counts_at_once(self, endpoint: ClientEndpoint) -> None:
        assert self.keep_house() == ["north", "south", "west"]
        endpoint.set_audience(["north"])
        assert self.keep_house() == ["north"]
        ended = Delivery.objects.exclude(status="pending").values_list("status", "reason", "next_attempt_at")
        assert set(ended) == {("cancelled", "audience", None)}

    def test_a_member_who_left_is_noticed_within_a_minute(self, endpoint: ClientEndpoint) -> None:
        assert self.keep_house() == ["north", "south", "west"]
        UserProfile.objects.filter(client_branding_id="south").update(client_branding_id="east")
        assert self.keep_house(59) == ["east", "north", "west"]
        assert self.keep_house(61) == ["north", "west"]

    def test_it_ends_what_waits_for_an_inactive_endpoint_too(self, endpoint: ClientEndpoint) -> None:
        ClientEndpoint.objects.update(is_active=False)
        endpoint.refresh_from_db()
        endpoint.set_audience([])
        assert self.keep_house() == []

    def test_it_works_in_batches_and_goes_on_where_one_run_was_not_enough(
        self, endpoint: ClientEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outside, "CANCELLED_AT_ONCE", 2)
        monkeypatch.setattr(outside, "MOST_SEARCH_SECONDS", 1e-9)
        endpoint.set_audience([])
        left = []
        for _ in range(6):
            self.keep_house()
            left.append(Delivery.objects.filter(status="pending").count())
        assert left == [7, 5, 3, 1, 0, 0]

    def test_without_listed_audiences_there_is_nothing_to_look_for(self, endpoint: ClientEndpoint) -> None:
        endpoint.set_audience(None)
        assert not idle.chores(using="default").outside
        endpoint.set_audience([])
        assert idle.chores(using="default").outside
        self.keep_house()
        assert not idle.chores(using="default").outside


@pytest.mark.skipif(connection.vendor != "postgresql", reason="other databases do not turn the condition into a join")
def test_the_start_looks_up_its_own_members_while_the_tables_have_no_statistics() -> None:
    listed("north")
    UserProfileFactory.create_batch(400, client_branding_id="north")
    [claimed] = claim(ClaimRequest(name="w"), using="default")
    (update,) = [
        sql for sql in statements(lambda: start(claimed.deliveries, using="default")) if "dialled_at = " in sql
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {update}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(r"on live_push_userprofile m .*\n *Index Cond: \(id = [a-z0-9_]+\.profile_id\)", plan), plan
