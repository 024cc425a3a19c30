"""A new run: redelivery by hand, and re-activation of an endpoint."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from live_push import api
from live_push.models import Attempt, ClientEndpoint, Confirmation, Delivery, EndpointHealth, Push, UserProfile
from live_push.models.clock import stopped
from live_push.outbox import resend, withdraw
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)


class TestRedelivery:
    def test_sends_the_same_event_again(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        (first,) = deliver(status(413))
        delivery = Delivery.objects.get()
        assert api.redeliver([delivery.pk]) == api.Redelivered(reopened=[delivery.pk], skipped=[])
        (second,) = deliver()
        assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
        assert second.headers["live-push-attempt"] == "2"
        assert list(Attempt.objects.values_list("number", "trigger")) == [(1, "push"), (2, "redeliver")]

    def test_begins_a_new_run(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            deliver(status(413))
        with stopped(START + timedelta(days=2)):
            api.redeliver(Delivery.objects.all())
            deliver(status(500))
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.run_attempts, delivery.attempts_made) == ("pending", 1, 2)

    @pytest.mark.parametrize("state", ["pending", "succeeded"])
    def test_of_what_did_not_end_badly_is_skipped(self, state: str) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        if state == "succeeded":
            deliver()
        _reopened, (skipped,) = api.redeliver(Delivery.objects.all())
        assert state in skipped.why

    def test_of_a_state_older_than_the_accepted_one_is_skipped(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(status(413))
        old = Delivery.objects.get()
        profile.save()
        deliver()
        _reopened, (skipped,) = api.redeliver([old])
        assert skipped.why == "a newer state was accepted; use resend"

    def resent_to_one_of_two(self, profile: UserProfile) -> Delivery:
        """The delivery that was cancelled before the other one gave their push its sequence and body."""
        resend.record([profile.pk], using="default")
        cancelled = Delivery.objects.filter(status="pending").latest("pk")
        withdraw.cancel([cancelled.pk], using="default")
        deliver()
        return cancelled

    def test_of_what_was_cancelled_before_its_body_was_drawn_takes_its_place_in_the_line(self) -> None:
        ClientEndpointFactory.create_batch(2)
        profile = UserProfileFactory()
        deliver()
        cancelled = self.resent_to_one_of_two(profile)
        assert api.redeliver([cancelled]) == ([cancelled.pk], [])
        assert len(deliver()) == 1
        confirmed = Confirmation.objects.values_list("sequence", flat=True)
        assert set(confirmed) == {Push.objects.latest("pk").sequence}
        profile.save()
        assert len(deliver()) == 2

    def test_of_what_was_cancelled_before_its_body_was_drawn_is_skipped_where_a_newer_state_was_accepted(self) -> None:
        ClientEndpointFactory.create_batch(2)
        profile = UserProfileFactory()
        deliver()
        cancelled = self.resent_to_one_of_two(profile)
        profile.save()
        deliver()
        _reopened, (skipped,) = api.redeliver([cancelled])
        assert skipped.why == "a newer state was accepted; use resend"

    def test_of_a_body_that_is_gone_is_skipped(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(413))
        Push.objects.update(payload=None)
        _reopened, (skipped,) = api.redeliver(Delivery.objects.all())
        assert "use resend" in skipped.why

    def test_of_a_payload_that_could_not_be_built_is_skipped(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory(custom_data=[1])
        _reopened, (skipped,) = api.redeliver(Delivery.objects.all())
        assert "correct the cause" in skipped.why

    def test_of_a_deleted_member_is_skipped(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory().delete()
        _reopened, (skipped,) = api.redeliver(Delivery.objects.all())
        assert "deleted" in skipped.why

    def test_of_an_unknown_id_is_skipped(self) -> None:
        assert api.redeliver([7])[1][0].why == "there is no such delivery"


class TestReactivation:
    def switch(self, endpoint: ClientEndpoint, on: bool) -> None:
        endpoint.is_active = on
        endpoint.save()

    def test_sends_the_current_state_of_who_changed_meanwhile(self) -> None:
        endpoint = ClientEndpointFactory()
        same, changed = UserProfileFactory.create_batch(2)
        deliver()
        self.switch(endpoint, on=False)
        changed.save()
        created = UserProfileFactory()
        self.switch(endpoint, on=True)
        assert set(Delivery.objects.filter(status="pending").values_list("profile", flat=True)) == {
            changed.pk,
            created.pk,
        }
        deliver()
        assert not UserProfile.objects.behind_or_never_sent(endpoint.pk).exists()
        assert same.pk

    def test_does_the_same_when_switched_by_a_queryset(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        ClientEndpoint.objects.update(is_active=False)
        assert EndpointHealth.objects.get().inactive_since is not None
        profile.save()
        ClientEndpoint.objects.update(is_active=True)
        assert len(deliver()) == 1
        assert not UserProfile.objects.behind_or_never_sent(endpoint.pk).exists()

    def test_begins_a_new_run_for_what_waited(self) -> None:
        endpoint = ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
            deliver(status(500))
            self.switch(endpoint, on=False)
        with stopped(START + timedelta(days=3)):
            self.switch(endpoint, on=True)
            assert len(deliver()) == 1
        assert Delivery.objects.get().status == "succeeded"

    @pytest.mark.parametrize(
        ("ordering", "sent"),
        [
            pytest.param("in_order", ["Wien"], id="in_order"),
            pytest.param("latest_only", ["Wien"], id="latest_only"),
            pytest.param("strict", ["Linz", "Bonn", "Wien"], id="strict: none gives way"),
        ],
    )
    def test_cancels_older_waiting_states(self, ordering: str, sent: list[str]) -> None:
        endpoint = ClientEndpointFactory(ordering=ordering)
        profile, other = UserProfileFactory(city="Graz"), UserProfileFactory(city="Graz")
        deliver()
        self.save_as(profile, "Linz", "Bonn")
        other.save()
        self.switch(endpoint, on=False)
        self.save_as(profile, "Wien")
        self.switch(endpoint, on=True)
        # What waited for a member who did not change meanwhile is the current state.
        assert Delivery.objects.get(profile=other, status="pending")
        bodies = [json.loads(request.body) for request in deliver()]
        assert [body["city"] for body in bodies if body["id"] == profile.pk] == sent
        assert set(Delivery.objects.filter(status="cancelled").values_list("reason", flat=True)) <= {"superseded"}

    def save_as(self, profile: UserProfile, *cities: str) -> None:
        for profile.city in cities:
            profile.save()

    def test_closes_the_breaker(self) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory.create_batch(6)
        deliver(status(500))
        self.switch(endpoint, on=False)
        self.switch(endpoint, on=True)
        assert EndpointHealth.objects.get().breaker_state == "closed"

    def test_of_a_new_endpoint_sends_nothing_old(self) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        profile = UserProfileFactory()
        EndpointHealth.objects.update(inactive_since=START + timedelta(days=36500))
        self.switch(endpoint, on=True)
        assert deliver() == []
        assert list(UserProfile.objects.never_sent(endpoint.pk)) == [profile]

    def test_does_not_happen_when_an_active_endpoint_is_saved(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        UserProfile._base_manager.filter(pk=profile.pk).update(changed_sequence=2**61)
        endpoint.save()
        assert deliver() == []
