"""The rows that the payload serializer reads, on each database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldError
from django.db import connection

from live_push.models import Tier, TierMembership, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.outbox import member_rows
from live_push.tiers import service
from tests.factories import GoldenProfileFactory, TierProgramFactory, UserProfileFactory
from tests.support import statements

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = {
    "tier_title": "tier__title",
    "tier_min_value": "tier__min_value",
    "tier_max_value": "tier__max_value",
    "tier_maintain_score": "tier__maintain_score",
    "tier_timeframe": "tier__program__timeframe",
    "tier_time_zone": "tier__program__time_zone",
    "tier_score": "tier_score",
    "tier_timeframe_score": "timeframe_score",
    "tier_date_reached": "date_reached",
    "tier_date_assigned": "date_assigned",
    "tier_expiration_date": "expiration_date",
    "tier_reset_date": "reset_date",
    "tier_assigned_by_event": "assigned_by_event",
}
NEXT = {"tier_next_title": "title", "tier_next_min_value": "min_value", "tier_next_max_value": "max_value"}


def row_of(profile: UserProfile) -> dict[str, Any]:
    return member_rows.read_members([profile.pk], using="default")[profile.pk]


def typed(row: dict[str, Any]) -> dict[str, Any]:
    """The values with their types, because True equals 1."""
    return {name: (type(value), value) for name, value in row.items()}


@pytest.fixture
def member() -> UserProfile:
    """A member of whom every column has a value."""
    return GoldenProfileFactory(
        id=None,
        activity_stream_opt_in=True,
        custom_data={"city": "Zürich", "number": 7, "flag": True},
        date_of_birth=datetime(1974, 7, 6, 20, tzinfo=UTC),
        date_mobile_verified=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        monthly_points_period=date(2026, 1, 1),
        weekly_points_period=date(2026, 1, 5),
        ip_address="2001:db8::1",
        user=get_user_model().objects.create_user("ada", email="ada@example.com"),
    )


def test_a_row_has_what_the_orm_reads(member: UserProfile) -> None:
    TierProgramFactory()
    service.start_members([member.pk], using="default")
    service.award_points(member, 1200)
    TierMembership.objects.update(expiration_date=db_now("default") + timedelta(days=9))
    row = row_of(member)
    of_profile = UserProfile.objects.values(*(field.attname for field in UserProfile._meta.concrete_fields)).get()
    of_tier = TierMembership.objects.values(*PATHS.values()).get()
    above = Tier.objects.values(*NEXT.values()).get(title="Tier 3")
    expected = of_profile | {name: of_tier[path] for name, path in PATHS.items()}
    expected |= {name: above[field] for name, field in NEXT.items()}
    now = row.pop("now")
    assert typed(row) == typed(expected)
    assert now.tzinfo is UTC
    assert abs(now - db_now("default")) < timedelta(seconds=20)


def test_without_a_tier_all_of_its_columns_are_null(member: UserProfile) -> None:
    row = row_of(member)
    assert {row[name] for name in (*PATHS, *NEXT)} == {None}


def test_the_highest_tier_has_no_next_one(member: UserProfile) -> None:
    TierProgramFactory()
    service.start_members([member.pk], using="default")
    service.award_points(member, 5000)
    row = row_of(member)
    assert row["tier_title"] == "Tier 3"
    assert {row[name] for name in NEXT} == {None}


def test_many_rows_cost_one_statement_and_a_profile_that_is_gone_has_none() -> None:
    profiles = UserProfileFactory.create_batch(3)
    ids = [profile.pk for profile in profiles]
    rows: dict[int, dict[str, Any]] = {}
    assert len(statements(lambda: rows.update(member_rows.read_members([*ids, 999_999], using="default")))) == 1
    assert {pk: row["id"] for pk, row in rows.items()} == {pk: pk for pk in ids}
    assert member_rows.read_members([], using="default") == {}


def test_a_stopped_clock_is_the_time_of_the_row() -> None:
    profile, noon = UserProfileFactory(), datetime(2026, 5, 4, 12, tzinfo=UTC)
    with stopped(noon):
        assert row_of(profile)["now"] == noon


def test_the_names_in_the_text_are_those_of_the_models() -> None:
    assert TierMembership._meta.get_field("profile").column == "profile_id"
    assert TierMembership._meta.get_field("tier").column == "tier_id"
    assert [Tier._meta.get_field(name).column for name in ("program", "min_value", "max_value")] == [
        "program_id",
        "min_value",
        "max_value",
    ]
    # A name that the database reserves would need its quotes.
    assert connection.ops.quote_name("id") in member_rows._select("default").before


def test_further_columns_are_those_that_a_row_lacks() -> None:
    user = get_user_model().objects.create_user("ada", email="ada@example.com")
    profile = UserProfileFactory(user=user)
    assert member_rows.further_columns([profile.pk], ["city", "now", "tier_title"], using="default") is None
    further = member_rows.further_columns([profile.pk], ["city", "user__email"], using="default")
    assert further is not None
    assert list(further) == [{"pk": profile.pk, "user__email": "ada@example.com"}]
    with pytest.raises(FieldError):
        member_rows.further_columns([profile.pk], ["no_such_column"], using="default")
