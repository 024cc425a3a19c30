"""A host writes our columns, queries our models and calls what it may call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, assert_type

from django.contrib.auth.models import User
from django.db.models import F

from live_push import api
from live_push.contract.payload import ProfilePayload
from live_push.models import ClientEndpoint, Delivery, TierEvent, UserProfile


class OurPayload(ProfilePayload):
    columns = ("user__email",)

    def snapshot(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return super().snapshot({**row, "email_address": row["user__email"]})


def write(member: UserProfile, endpoint: ClientEndpoint) -> None:
    member.total_points = F("total_points") + 1
    member.num_points_purchased = F("num_points_purchased") + 1
    member.is_active = False
    member.third_party_id = None
    member.date_of_birth = date(1974, 7, 6)
    member.date_of_birth = datetime(1974, 7, 6, tzinfo=UTC)
    member.date_of_birth = "1974-07-06"
    member.date_of_birth = 142_344_000
    labels: dict[str, str] = {"employee_id": "e1"}
    member.custom_data = labels
    endpoint.url = "https://client.example.com/push"
    endpoint.api_key = "their-key"
    endpoint.api_key = None
    endpoint.withheld_fields = ["dateOfBirth"]


def make() -> None:
    UserProfile(user_name="ada", total_points=0, date_of_birth=date(1974, 7, 6), third_party_id=None)
    UserProfile.objects.create(user_name="ada", custom_data={"employee_id": "e1", "age": 7, "active": True})
    ClientEndpoint(name="CRM", url="https://client.example.com/push", auth_method="api_key", api_key="their-key")


def mistakes(member: UserProfile, endpoint: ClientEndpoint) -> None:
    """mypy reports each of these lines: without an error in it, a remark that expects one is an error itself."""
    member.total_points = "many"  # type: ignore[assignment]
    member.total_points = None  # type: ignore[assignment]
    member.third_party_id = 7  # type: ignore[assignment]
    member.date_of_birth = 1.5  # type: ignore[assignment]
    member.custom_data = {"nested": {}}  # type: ignore[dict-item]
    endpoint.url = None  # type: ignore[assignment]
    endpoint.api_key = 7  # type: ignore[assignment]
    endpoint.api_key.upper()  # type: ignore[union-attr]
    endpoint.capture_marker = 1  # type: ignore[assignment]
    api.profile_changed(7)  # type: ignore[arg-type]
    api.profile_changed(ClientEndpoint.objects.all())  # type: ignore[arg-type]


def query(user: User) -> None:
    assert_type(user.live_push_profile, UserProfile)
    members = UserProfile.objects.filter(city="Graz", total_points__gte=5)
    assert_type(members.get(), UserProfile)
    assert_type(list(members.values_list("total_points", flat=True)), list[int])
    assert_type(list(members.values_list("third_party_id", flat=True)), list[str | None])


def call(member: UserProfile, endpoint: ClientEndpoint) -> None:
    assert_type(api.award_points(member, 500), list[TierEvent])
    api.spend_points(member, 200)
    api.profile_changed(member)
    api.profile_changed(UserProfile.objects.filter(city="Graz"))
    assert_type(api.push_profile(member, endpoints=[endpoint]), int)
    assert_type(api.push_profiles(UserProfile.objects.all()), int)
    result = api.redeliver(Delivery.objects.filter(status="failed"))
    assert_type(result, api.Redelivered)
    assert_type(result.reopened, list[int])
    assert_type(result.skipped, list[api.Skipped])
    again, skipped = api.redeliver([7])
    assert_type(again, list[int])
    assert_type([entry.why for entry in skipped], list[str])
