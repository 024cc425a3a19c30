"""Whatever can be iterated once serves where Django takes field names or objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError

from live_push.models import ClientEndpoint, EndpointHealth, TierMembership, UserProfile
from live_push.testing import captured_pushes
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

pytestmark = pytest.mark.django_db


def generated(items: Iterable[Any]) -> Iterator[Any]:
    yield from items


KINDS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
    "generator": generated,
    "keys": lambda names: dict.fromkeys(names).keys(),
}
ANY_KIND_OF_ROWS = pytest.mark.parametrize("kind", [list, tuple, iter, generated])
ANY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
SAVES: dict[str, Callable[..., None]] = {
    "save": lambda row, **options: row.save(**options),
    "asave": lambda row, **options: async_to_sync(row.asave)(**options),
}
EITHER_SAVE = pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)


@ANY_KIND
@EITHER_SAVE
def test_a_profile_writes_the_named_columns_and_pushes(kind: Callable[..., Any], save: Callable[..., None]) -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(monthly_points=5, monthly_points_period=date(2026, 1, 1))
    profile.city, profile.monthly_points, profile.country = "Rome", 7, "IT"
    with captured_pushes() as pushes:
        save(profile, update_fields=kind(["city", "monthly_points"]))

    stored = UserProfile.objects.get()
    assert (stored.city, stored.monthly_points, stored.country) == ("Rome", 7, "US")
    # What the host counted itself is of no earlier month.
    assert stored.monthly_points_period is None
    assert [push.payload["city"] for push in pushes] == ["Rome"]
    # What was written is remembered: a later save takes no award back.
    assert not profile.is_changed_here("monthly_points")


@ANY_KIND
@EITHER_SAVE
def test_an_endpoint_writes_the_named_columns_and_when_its_key_changed(
    kind: Callable[..., Any], save: Callable[..., None]
) -> None:
    endpoint = ClientEndpointFactory(api_key_auth=True)
    ClientEndpoint.objects.update(credentials_changed_at=datetime(2026, 1, 1, tzinfo=UTC))
    endpoint.api_key, endpoint.is_active, endpoint.contact_email = "another-key", False, "ops@example.com"
    save(endpoint, update_fields=kind(["api_key", "is_active"]))

    stored = ClientEndpoint.objects.get()
    assert (stored.reveal("api_key"), stored.is_active, stored.contact_email) == ("another-key", False, "")
    assert stored.credentials_changed_at is not None
    assert stored.credentials_changed_at.year > 2025
    assert EndpointHealth.objects.get().inactive_since is not None


@ANY_KIND
def test_an_endpoint_s_url_is_judged_where_it_is_named(kind: Callable[..., Any]) -> None:
    endpoint = ClientEndpointFactory()
    endpoint.url = "http://plain.example.com/"
    with pytest.raises(ValidationError):
        endpoint.save(update_fields=kind(["url"]))


@ANY_KIND
def test_a_membership_writes_the_named_columns_and_pushes(kind: Callable[..., Any]) -> None:
    ClientEndpointFactory()
    TierProgramFactory()
    UserProfileFactory()
    member = TierMembership.objects.get()
    member.tier_score, member.timeframe_score = 5, 6
    with captured_pushes() as pushes:
        member.save(update_fields=kind(["tier_score"]))

    stored = TierMembership.objects.get()
    assert (stored.tier_score, stored.timeframe_score, len(pushes)) == (5, 0, 1)


@ANY_KIND
def test_no_names_write_nothing(kind: Callable[..., Any]) -> None:
    endpoint, _program, profile = ClientEndpointFactory(), TierProgramFactory(), UserProfileFactory()
    endpoint.is_active, profile.city = False, "Rome"
    with captured_pushes() as pushes:
        endpoint.save(update_fields=kind([]))
        profile.save(update_fields=kind([]))
        profile.tier_membership.save(update_fields=kind([]))
        ClientEndpoint(name="new").save(update_fields=kind([]))

    assert ClientEndpoint.objects.get().is_active
    assert EndpointHealth.objects.get().inactive_since is None
    assert UserProfile.objects.get().city is None
    assert pushes == []


@ANY_KIND_OF_ROWS
def test_profiles_are_created_and_updated_from_it(kind: Callable[..., Any]) -> None:
    ClientEndpointFactory()
    with captured_pushes() as created:
        UserProfile.objects.bulk_create(kind([UserProfile(user_name="ada"), UserProfile(user_name="grace")]))
    profiles = list(UserProfile.objects.all())
    for profile in profiles:
        profile.city = "Rome"
    with captured_pushes() as updated:
        UserProfile.objects.bulk_update(kind(profiles), kind(["city"]))

    assert [push.trigger for push in created] == ["created", "created"]
    assert [push.payload["city"] for push in updated] == ["Rome", "Rome"]


@ANY_KIND_OF_ROWS
def test_endpoints_are_created_from_it(kind: Callable[..., Any]) -> None:
    new = [ClientEndpoint(name=name, url=f"https://{name}.example.com/") for name in ("acme", "globex")]
    ClientEndpoint.objects.bulk_create(kind(new))

    assert EndpointHealth.objects.count() == 2


@ANY_KIND
def test_a_refreshed_profile_remembers_the_named_columns(kind: Callable[..., Any]) -> None:
    profile = UserProfileFactory()
    UserProfile.objects.update(total_points=10)
    profile.refresh_from_db(fields=kind(["total_points"]))

    assert profile.total_points == 10
    assert not profile.is_changed_here("total_points")


class TestWhatASaveDoesNotWrite:
    """It does not count either, whatever the instance holds."""

    def test_an_unsaved_switch_is_not_announced(self) -> None:
        endpoint = ClientEndpointFactory()
        endpoint.is_active = False
        endpoint.save(update_fields=["contact_email"])
        assert EndpointHealth.objects.get().inactive_since is None

    def test_a_deferred_switch_is_not_announced(self) -> None:
        ClientEndpointFactory(is_active=False)
        endpoint = ClientEndpoint.objects.only("contact_email").get()
        before = EndpointHealth.objects.get().activated_at
        endpoint.save()
        assert EndpointHealth.objects.get().activated_at == before

    def test_an_unsaved_password_says_nothing_of_the_stored_one(self) -> None:
        endpoint = ClientEndpointFactory(api_key_auth=True)
        endpoint.api_key = None
        endpoint.save(update_fields=["contact_email"])
        assert not EndpointHealth.objects.get().needs_credentials

    def test_switching_many_by_an_expression_announces_each_as_it_is(self) -> None:
        on, off = ClientEndpointFactory(name="on"), ClientEndpointFactory(name="off", is_active=False)
        on.is_active, off.is_active = False, True
        ClientEndpoint.objects.bulk_update([on, off], ["is_active"])
        healths = EndpointHealth.objects.order_by("endpoint__name")
        assert [health.inactive_since is not None for health in healths.filter(endpoint__is_active=False)] == [True]
        assert [health.activated_at is not None for health in healths] == [True, False]
