"""A primary and a replica: what is written goes to the primary, and nothing that decides it is read elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from django.test import Client

from live_push import api
from live_push.engines.run import sweep
from live_push.housekeeping import signing_secrets
from live_push.models import (
    ClientEndpoint,
    Delivery,
    EndpointHealth,
    Push,
    Tier,
    TierMembership,
    TierProgram,
    UserProfile,
    clock,
)
from live_push.testing import captured_pushes
from live_push.tiers import clock as batches
from live_push.tiers import service
from tests.admin.forms import submit
from tests.admin.pages import all_pages, url
from tests.databases.conftest import Replica
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, command, deliver, status

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])


@dataclass
class World:
    """What there is: the replica has ``known``, and where it lags it does not have ``new``."""

    replica: Replica
    endpoint: ClientEndpoint
    user: User
    known: UserProfile
    new: UserProfile

    def members(self) -> Any:
        """Both members, as a queryset without an alias."""
        return UserProfile.objects.filter(pk__in=[self.known.pk, self.new.pk])


@pytest.fixture(params=["read-only", "lagging"])
def world(request: pytest.FixtureRequest, replica: Replica, client: Client) -> Iterator[World]:
    cache.clear()
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "secret"))
    TierProgramFactory()
    endpoint = ClientEndpointFactory(name="acme")
    user = User.objects.create(username="ada")
    known = UserProfileFactory(user=user)
    assert len(deliver(OK)) == 1
    if request.param == "lagging":
        replica.lag()
    new = UserProfileFactory()
    assert len(deliver(OK)) == 1
    # As a host has them in hand: read from the replica.
    known = UserProfile.objects.get(pk=known.pk)
    assert known._state.db == "replica"
    yield World(replica, ClientEndpoint.objects.get(pk=endpoint.pk), user, known, new)
    cache.clear()


def pushed(act: Callable[[], object]) -> list[tuple[int | None, str]]:
    """What an action records in the primary: member and trigger."""
    before = {push.pk for push in Push.objects.using("default")}
    act()
    recorded = Push.objects.using("default").exclude(pk__in=before).order_by("profile")
    return list(recorded.values_list("profile", "trigger"))


def linked_by_id(world: World) -> None:
    user = User.objects.create(username="grace", first_name="Grace")
    UserProfile.objects.create(user_id=user.pk)
    assert UserProfile.objects.using("default").get(user=user.pk).first_name == "Grace"


def bulk_update(world: World) -> None:
    members = list(world.members().using("default"))
    for member in members:
        member.city = "Rome"
    UserProfile.objects.bulk_update(members, ["city"])


def save_the_user(world: World) -> None:
    world.user.last_name = "King"
    world.user.save()


def save_membership(world: World) -> None:
    member = TierMembership.objects.get(pk=world.known.pk)
    member.tier_score = 5
    member.save()


WRITES: dict[str, tuple[Callable[[World], object], list[str]]] = {
    # an action, and the triggers that it records
    "save": (lambda world: world.known.save(), ["updated"]),
    "save_some": (lambda world: world.known.save(update_fields=["city"]), ["updated"]),
    "create": (lambda world: UserProfile.objects.create(user_name="grace"), ["created"]),
    "create_for_a_new_user": (linked_by_id, ["created"]),
    "update_or_create": (
        lambda world: UserProfile.objects.update_or_create(pk=world.new.pk, defaults={"city": "Rome"}),
        ["updated"],
    ),
    "update": (lambda world: world.members().update(city="Rome"), ["updated", "updated"]),
    "update_of_a_new_row": (lambda world: UserProfile.objects.filter(pk=world.new.pk).update(city="R"), ["updated"]),
    "bulk_create": (lambda world: UserProfile.objects.bulk_create([UserProfile(), UserProfile()]), ["created"] * 2),
    "bulk_create_ignoring_conflicts": (
        lambda world: UserProfile.objects.bulk_create([UserProfile(third_party_id="T")], ignore_conflicts=True),
        ["created"],
    ),
    "bulk_update": (bulk_update, ["updated", "updated"]),
    "save_the_user": (save_the_user, ["user"]),
    "save_the_membership": (save_membership, ["tier"]),
    "award_points": (lambda world: api.award_points(world.known, 2000), ["tier"]),
    "spend_points": (lambda world: api.spend_points(world.known, 0) or api.award_points(world.known, 1), ["tier"]),
    "profile_changed": (lambda world: api.profile_changed(world.known), ["updated"]),
    "profiles_changed": (lambda world: api.profile_changed(world.members()), ["updated", "updated"]),
    "push_profile": (lambda world: api.push_profile(world.known), ["resend"]),
    "push_profiles": (lambda world: api.push_profiles(world.members()), ["resend", "resend"]),
    "push_a_slice": (lambda world: api.push_profiles(world.members().order_by("pk")[:5]), ["resend", "resend"]),
    "push_a_union": (
        lambda world: api.push_profiles(world.members().union(UserProfile.objects.filter(city="Rome"))),
        ["resend", "resend"],
    ),
}


@pytest.mark.parametrize(("act", "triggers"), WRITES.values(), ids=WRITES)
def test_row_and_push_are_written_to_the_primary(
    world: World, act: Callable[[World], object], triggers: list[str]
) -> None:
    recorded = pushed(lambda: act(world))

    assert [trigger for _member, trigger in recorded] == triggers
    # Where the replica accepts writes, a push in it would be lost.
    assert Push.objects.using("replica").count() in (1, Push.objects.using("default").count())
    assert len(deliver(OK)) == len(triggers)


@pytest.mark.parametrize(
    "act", ["update", "bulk_create", "profiles_changed", "push_profiles", "push_a_slice", "award_points"]
)
def test_what_is_written_is_not_decided_by_what_the_replica_holds(world: World, act: str) -> None:
    with world.replica.asked() as asked:
        WRITES[act][0](world)
        deliver(OK)

    assert [query["sql"] for query in asked] == []


@pytest.mark.parametrize("act", ["update", "bulk_create", "bulk_update"])
def test_rows_and_pushes_of_a_bulk_write_are_one_transaction(
    world: World, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("live_push.outbox.record.insert_and_fan_out", crash)
    before = list(UserProfile.objects.using("default").order_by("pk").values_list("pk", "city"))
    with pytest.raises(RuntimeError):
        WRITES[act][0](world)

    assert list(UserProfile.objects.using("default").order_by("pk").values_list("pk", "city")) == before


def test_an_update_inside_a_transaction_of_the_host_goes_with_it(world: World) -> None:
    def rolled_back() -> None:
        with transaction.atomic():
            world.members().update(city="Rome")
            transaction.set_rollback(True)

    assert pushed(rolled_back) == []
    assert not UserProfile.objects.using("default").filter(city="Rome").exists()


def test_a_replica_that_the_caller_named_is_written_to(replica: Replica) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    with pytest.raises(DatabaseError):
        UserProfile.objects.using("replica").update(city="Rome")


def test_a_deleted_member_leaves_the_log(world: World) -> None:
    pk = world.known.pk
    world.known.delete()

    assert not Push.objects.using("default").filter(profile=pk).exists()
    assert Push.objects.using("default").filter(profile=None, payload=None).count() == 1


def failed_delivery(world: World) -> Delivery:
    """A delivery that the client refused, and that a replica that lags does not have."""
    world.new.save()
    deliver(status(413))
    return Delivery.objects.using("default").latest("pk")


def test_deliveries_of_a_queryset_are_redelivered(world: World) -> None:
    delivery = failed_delivery(world)
    with world.replica.asked() as asked:
        again, skipped = api.redeliver(Delivery.objects.filter(status="failed"))
        assert [query["sql"] for query in asked] == []

    assert (again, skipped) == ([delivery.pk], [])
    assert len(deliver(OK)) == 1


def test_an_endpoint_that_is_switched_off_and_on_catches_up(world: World) -> None:
    ClientEndpoint.objects.filter(pk=world.endpoint.pk).update(is_active=False)
    assert EndpointHealth.objects.using("default").get(pk=world.endpoint.pk).inactive_since is not None
    world.new.save()
    assert deliver(OK) == []

    ClientEndpoint.objects.filter(pk=world.endpoint.pk).update(is_active=True)

    assert len(deliver(OK)) == 1


def test_an_endpoint_is_saved_and_created_in_bulk(world: World) -> None:
    world.endpoint.is_active = False
    world.endpoint.save()
    ClientEndpoint.objects.bulk_create([ClientEndpoint(name="bulk", url="https://bulk.example.com/")])
    ClientEndpointFactory(name="single", api_key_auth=True)

    healths = EndpointHealth.objects.using("default").order_by("endpoint__name")
    assert list(healths.values_list("endpoint__name", flat=True)) == ["acme", "bulk", "single"]
    assert healths[0].inactive_since is not None


def test_a_new_endpoint_and_a_new_tier_are_judged_beside_those_that_the_replica_does_not_have(world: World) -> None:
    ClientEndpointFactory(capturing=True)
    with pytest.raises(ValidationError, match="already synchronizes"):
        ClientEndpoint(name="second", url="https://b.example.com/", capture_third_party_id=True).full_clean()
    program = TierProgram.objects.create(name="Young")
    Tier.objects.create(program=program, title="Base", max_value=9)
    with pytest.raises(ValidationError, match="Base"):
        Tier(program=program, title="Other", max_value=5).full_clean()


def test_a_signing_secret_is_rotated_and_removed(world: World) -> None:
    text = signing_secrets.rotate(world.endpoint)
    assert world.endpoint.reveal("signing_secret") == text
    assert ClientEndpoint.objects.using("default").get().reveal("signing_secret") == text

    signing_secrets.remove(world.endpoint)
    assert ClientEndpoint.objects.using("default").get().signing_secret is None


def test_a_test_push_carries_a_member_whom_the_replica_does_not_have(world: World) -> None:
    from live_push.delivery import test_push
    from live_push.outbox.snapshots import current_snapshot

    snapshot = current_snapshot(world.new)
    composed = test_push.compose(world.endpoint, at=clock.db_now("default"), snapshot=snapshot)

    assert f'"id":{world.new.pk}'.encode() in composed.body.replace(b": ", b":")


def test_tests_of_a_host_see_what_was_recorded(world: World) -> None:
    with captured_pushes() as pushes:
        world.members().update(city="Rome")

    assert [push.endpoints for push in pushes] == [("acme",), ("acme",)]


def test_an_edited_ladder_the_clock_and_a_person_move_members(world: World) -> None:
    program, tiers = TierProgram.objects.get(), Tier.objects.using("default")
    api.award_points(world.known, 10)
    tiers.filter(title="Tier 1").update(max_value=4)
    tiers.filter(title="Tier 2").update(min_value=5)
    assert pushed(lambda: list(batches.reevaluation_batches(program))) == [(world.known.pk, "tier")]

    TierProgram.objects.update(timeframe="rolling", length=12)
    TierMembership.objects.update(expiration_date=clock.db_now("default") - timedelta(days=1))
    with world.replica.asked() as asked:
        assert api.apply_due_tier_changes() == 2
    assert [query["sql"] for query in asked] == []

    top = Tier.objects.get(title="Tier 3")
    assert pushed(lambda: service.override_tier(world.known, top)) == [(world.known.pk, "tier")]


COMMANDS = {
    "resend": ("resend_profile", "--all", "--yes"),
    "stale": ("resend_profile", "--stale", "--verify"),
    "redeliver": ("redeliver", "--endpoint", "acme"),
    "tiers": ("live_push_tiers",),
    "prune": ("live_push_prune",),
    "keys": ("live_push_rotate_keys",),
    "erasure": ("live_push_erasure", "--check"),
    "status": ("live_push_status",),
}


@pytest.mark.parametrize("call", COMMANDS.values(), ids=COMMANDS)
def test_commands_work_on_the_primary_alone(world: World, call: tuple[str, ...]) -> None:
    failed_delivery(world)
    in_a_year = clock.stopped(clock.db_now("default") + timedelta(days=365))
    with in_a_year if call[0] == "live_push_prune" else nullcontext(), world.replica.asked() as asked:
        out, _err = command(*call)

    assert [query["sql"] for query in asked] == []
    if call[0] == "redeliver":
        assert "1 of 1" in out
    if call[0] == "live_push_prune":
        assert not Delivery.objects.using("default").exists()


def test_a_worker_works_on_the_primary_alone(world: World) -> None:
    world.members().update(city="Rome")
    api.push_profiles(world.members())
    with world.replica.asked() as asked:
        sweep("default", engine="celery", threads=1)
        deliver(status(500))

    assert [query["sql"] for query in asked] == []


class TestAdmin:
    """An operator's request changes the primary, also where the replica does not have the row yet."""

    @pytest.mark.parametrize(
        ("action", "then"), [("redeliver", "pending"), ("cancel", "cancelled"), ("erase_content", "failed")]
    )
    def test_one_delivery(self, world: World, client: Client, action: str, then: str) -> None:
        delivery = failed_delivery(world)
        if action == "cancel":
            api.redeliver([delivery.pk])
        response = client.post(url("delivery_action", delivery.pk), {"action": action, "confirmed": "1"})

        assert response.status_code == 302
        delivery = Delivery.objects.using("default").select_related("push").get(pk=delivery.pk)
        assert (delivery.status, delivery.push.payload is None) == (then, action == "erase_content")

    def test_one_delivery_is_resent(self, world: World, client: Client) -> None:
        delivery = failed_delivery(world)
        recorded = pushed(lambda: client.post(url("delivery_action", delivery.pk), {"action": "resend"}))
        assert recorded == [(world.new.pk, "resend")]

    @pytest.mark.parametrize("action", ["redeliver", "resend", "cancel", "erase_content"])
    def test_many_deliveries_are_asked_about_and_done(self, world: World, client: Client, action: str) -> None:
        delivery = failed_delivery(world)
        if action == "cancel":
            api.redeliver([delivery.pk])
        asked = client.post(url("delivery_changelist"), {"action": action, "_selected_action": [delivery.pk]})
        assert asked.context["plan"].count == 1, asked.content.decode()[:500]
        before = Push.objects.using("default").count()
        client.post(url("delivery_bulk"), {"action": action, "chosen": str(delivery.pk)})

        delivery = Delivery.objects.using("default").select_related("push").get(pk=delivery.pk)
        assert {
            "redeliver": delivery.status == "pending",
            "cancel": delivery.status == "cancelled",
            "erase_content": delivery.push.payload is None,
            "resend": Push.objects.using("default").count() == before + 1,
        }[action]

    def test_members_are_resent(self, world: World, client: Client) -> None:
        chosen = f"{world.known.pk},{world.new.pk}"
        recorded = pushed(lambda: client.post(url("userprofile_resend"), {"chosen": chosen}))
        assert recorded == [(world.known.pk, "resend"), (world.new.pk, "resend")]

    def test_a_member_is_resent_erased_and_put_into_a_tier(self, world: World, client: Client) -> None:
        endpoints = {"endpoints": [world.endpoint.pk]}
        recorded = pushed(lambda: client.post(url("userprofile_push", world.new.pk), endpoints))
        assert recorded == [(world.new.pk, "resend")]
        tier = {"tier": Tier.objects.get(title="Tier 3").pk, "reason": "Ticket 7"}
        recorded = pushed(lambda: client.post(url("userprofile_override", world.new.pk), tier))
        assert recorded == [(world.new.pk, "tier")]
        deliver(OK)
        client.post(url("userprofile_erase", world.new.pk))
        bodies = Push.objects.using("default").filter(profile=world.new.pk, payload__isnull=False)
        assert not bodies.exists()

    def test_a_member_s_form_is_saved(self, world: World, client: Client) -> None:
        address, form = url("userprofile_change", world.known.pk), "userprofile_form"
        assert pushed(lambda: submit(client, address, form, city="Rome")) == [(world.known.pk, "updated")]
        assert UserProfile.objects.using("default").get(pk=world.known.pk).city == "Rome"

    def test_an_endpoint_is_paused_resumed_and_caught_up(self, world: World, client: Client) -> None:
        endpoints = ClientEndpoint.objects.using("default")
        for to in ("pause", "resume"):
            client.post(url("clientendpoint_switch", world.endpoint.pk), {"to": to})
            assert endpoints.get().is_active is (to == "resume")
        EndpointHealth.objects.using("default").get()
        world.new.save()
        deliver(status(413))
        catch_up = {"whom": "behind"}
        recorded = pushed(lambda: client.post(url("clientendpoint_catch_up", world.endpoint.pk), catch_up))
        assert recorded == [(world.new.pk, "resend")]

    def test_an_endpoint_s_form_keeps_what_the_replica_does_not_know_yet(self, world: World, client: Client) -> None:
        address, form = url("clientendpoint_change", world.endpoint.pk), "clientendpoint_form"
        signing_secrets.rotate(world.endpoint)
        response = submit(client, address, form, contact_email="ops@example.com")
        assert response.status_code == 302, response.context["errors"]
        endpoint = ClientEndpoint.objects.using("default").get()
        assert endpoint.contact_email == "ops@example.com"
        assert endpoint.signing_secret is not None

    def test_a_test_push_names_a_new_member(self, world: World, client: Client) -> None:
        page = client.get(url("clientendpoint_test", world.endpoint.pk), {"member": world.new.pk})
        assert page.context["shown"] is not None

    def test_an_endpoint_with_deliveries_is_not_deleted(self, world: World, client: Client) -> None:
        endpoint = ClientEndpointFactory(name="young")
        world.new.save()
        assert client.post(url("clientendpoint_delete", endpoint.pk), {"post": "yes"}).status_code == 403

    def test_a_ladder_is_edited(self, world: World, client: Client) -> None:
        address, form = url("tierprogram_change", TierProgram.objects.get().pk), "tierprogram_form"
        response = submit(client, address, form, **{"tiers-0-title": "Bronze"})
        assert response.status_code == 302
        assert Tier.objects.using("default").filter(title="Bronze").exists()

    def test_every_page_opens(self, world: World, client: Client) -> None:
        for name, address in all_pages().items():
            assert client.get(address).status_code == 200, name
