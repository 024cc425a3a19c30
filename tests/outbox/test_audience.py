"""Which members an endpoint receives: judged when a change is recorded, and again when it is sent."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from live_push.models import Audience, ClientEndpoint, Delivery, EndpointHealth, ListedBranding, Push, UserProfile
from live_push.outbox import resend
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver, statements

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

    @pytest.mark.parametrize("brandings", [["north", ""], [None], ["x" * 256], [7, ""]], ids=repr)
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
