"""A host says that what its serializer reads has changed: a live push, as a save of the member records it."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import override_settings

from live_push import api, engines
from live_push.contract.payload import ProfilePayload
from live_push.models import ClientEndpoint, Delivery, Priority, Push, UserProfile
from live_push.outbox import record
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.readme import snippets
from tests.support import deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


class RegionOfGroup(ProfilePayload):
    """Reads a table of the host's own."""

    def snapshot(self, row: Any) -> dict[str, Any]:
        return super().snapshot({**row, "region": Group.objects.get().name})


@pytest.fixture
def group() -> Any:
    with override_settings(LIVE_PUSH={"PAYLOAD_SERIALIZER": f"{__name__}.RegionOfGroup"}):
        yield Group.objects.create(name="North")


def members(count: int, **columns: Any) -> list[UserProfile]:
    """Members of whom nothing waits."""
    made: list[UserProfile] = UserProfileFactory.create_batch(count, **columns)
    Push.objects.all().delete()
    return made


def recorded() -> list[tuple[int | None, str, int]]:
    rows = Delivery.objects.order_by("profile", "pk").values_list("profile", "push__trigger", "priority")
    return list(rows)


def test_a_change_of_the_hosts_own_row_is_pushed_live(group: Group) -> None:
    ClientEndpointFactory()
    (member,) = members(1)
    group.name = "South"
    group.save()
    assert recorded() == []
    api.profile_changed(member)
    assert recorded() == [(member.pk, "updated", Priority.LIVE)]
    assert [json.loads(request.body)["region"] for request in deliver()] == ["South"]


@pytest.mark.parametrize("as_queryset", [False, True])
def test_an_endpoint_without_the_change_is_behind(as_queryset: bool) -> None:
    endpoint = ClientEndpointFactory()
    member = UserProfileFactory()
    deliver()
    before = UserProfile.objects.get()
    assert not UserProfile.objects.behind(endpoint.pk).exists()
    api.profile_changed(UserProfile.objects.all() if as_queryset else member)
    after = UserProfile.objects.get()
    assert after.changed_sequence > before.changed_sequence
    assert after.date_last_updated > before.date_last_updated
    assert UserProfile.objects.behind(endpoint.pk).exists()
    deliver()
    assert not UserProfile.objects.behind(endpoint.pk).exists()


def test_the_profiles_of_a_queryset_are_pushed_and_no_others() -> None:
    ClientEndpointFactory.create_batch(2)
    near = members(2, city="Graz")
    members(1, city="Linz")
    api.profile_changed(UserProfile.objects.filter(city="Graz"))
    assert recorded() == [(member.pk, "updated", Priority.LIVE) for member in near for _ in range(2)]


def test_with_other_changes_of_the_same_commit_it_is_one_push(group: Group) -> None:
    ClientEndpointFactory()
    (member,) = members(1)
    with transaction.atomic():
        member.city = "Graz"
        member.save()
        group.name = "South"
        group.save()
        api.profile_changed(member)
        api.profile_changed(UserProfile.objects.all())
    (push,) = Push.objects.all()
    body = json.loads(push.payload)
    assert (body["city"], body["region"]) == ("Graz", "South")


@pytest.mark.parametrize("as_queryset", [False, True])
def test_it_is_rolled_back_with_the_transaction_of_the_caller(as_queryset: bool) -> None:
    ClientEndpointFactory()
    (member,) = members(1)
    before = UserProfile.objects.get().changed_sequence
    with transaction.atomic():
        api.profile_changed(UserProfile.objects.all() if as_queryset else member)
        transaction.set_rollback(True)
    assert recorded() == []
    assert UserProfile.objects.get().changed_sequence == before


def test_the_engine_is_woken_once_after_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    (member,) = members(1)
    woken: list[str] = []
    monkeypatch.setattr(engines, "wake", woken.append)
    with transaction.atomic():
        api.profile_changed(member)
        api.profile_changed(member)
        assert woken == []
    assert woken == ["default"]


def test_a_great_many_get_their_bodies_later_and_go_out_live_all_the_same(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "SNAPSHOTS_AT_MOST", 2)
    endpoint = ClientEndpointFactory()
    many = members(3)
    api.profile_changed(UserProfile.objects.all())
    assert recorded() == [(member.pk, "updated", Priority.LIVE) for member in many]
    assert set(Push.objects.values_list("payload", "sequence")) == {(None, None)}
    assert UserProfile.objects.behind_or_never_sent(endpoint.pk).count() == 3
    group.name = "South"
    group.save()
    assert [json.loads(request.body)["region"] for request in deliver()] == ["South"] * 3
    assert not UserProfile.objects.behind_or_never_sent(endpoint.pk).exists()


def test_it_costs_no_more_statements_than_a_save() -> None:
    ClientEndpointFactory()
    (member,) = members(1)
    assert len(statements(lambda: api.profile_changed(member))) == len(statements(member.save))


@pytest.mark.parametrize("snapshots_at_most", [1000, 1], ids=["with bodies", "without bodies"])
def test_its_statements_grow_with_neither_members_nor_endpoints(
    snapshots_at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "SNAPSHOTS_AT_MOST", snapshots_at_most)

    def push_all() -> list[str]:
        return statements(lambda: api.profile_changed(UserProfile.objects.all()))

    ClientEndpointFactory()
    members(2)
    few = push_all()
    ClientEndpointFactory.create_batch(4)
    members(60)
    assert len(push_all()) == len(few)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        pytest.param(UserProfile, ValueError, "is not saved: save\\(\\) it", id="a profile that is not saved"),
        pytest.param(lambda: UserProfile(pk=7), ValueError, "is not saved", id="one that only has an id"),
        pytest.param(ClientEndpoint, TypeError, "not ClientEndpoint", id="another model"),
        pytest.param(ClientEndpoint.objects.all, TypeError, "not a queryset of ClientEndpoint", id="rows of another"),
        pytest.param(lambda: 7, TypeError, "not int", id="an id"),
        pytest.param(list, TypeError, "not list", id="a list"),
        pytest.param(lambda: UserProfile.objects, TypeError, "a queryset of UserProfile", id="a manager"),
        pytest.param(lambda: UserProfile.objects.all()[:5], TypeError, "sliced or combined", id="a slice"),
        pytest.param(
            lambda: UserProfile.objects.filter(city="a").union(UserProfile.objects.all()),
            TypeError,
            "sliced or combined",
            id="a union",
        ),
    ],
)
def test_what_can_not_be_pushed_is_refused(wrong: Callable[[], Any], error: type[Exception], sentence: str) -> None:
    ClientEndpointFactory()
    members(1)
    with pytest.raises(error, match=sentence):
        api.profile_changed(wrong())
    assert recorded() == []


def test_a_deleted_profile_is_refused() -> None:
    (member,) = members(1)
    member.delete()
    with pytest.raises(ValueError, match="is not saved"):
        api.profile_changed(member)


def test_no_member_at_all_records_nothing() -> None:
    ClientEndpointFactory()
    api.profile_changed(UserProfile.objects.all())
    assert recorded() == []


def test_the_snippet_of_the_page_about_members_runs() -> None:
    ClientEndpointFactory()
    (member, _other) = members(1, client_branding_id="north") + members(1, client_branding_id="south")
    saved: list[bool] = []
    (snippet,) = [one for one in snippets("docs/members.md", "python") if "profile_changed" in one.code]
    names: dict[str, Any] = {}
    exec(snippet.code, names)  # noqa: S102
    names["rename"](SimpleNamespace(code="north", save=lambda: saved.append(True)), "Northern stores")
    assert saved == [True]
    assert [profile for profile, *_ in recorded()] == [member.pk]
