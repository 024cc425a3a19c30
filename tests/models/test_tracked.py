"""An instance that was read a while ago takes back nothing that others wrote meanwhile."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db.models import F

from live_push.conf import USER_FIELDS
from live_push.models import Push, UserProfile
from live_push.models.clock import stopped
from live_push.models.tracked import tracked_columns
from live_push.rules.tiers.points import COUNTER_COLUMNS
from live_push.tiers import service
from tests.factories import ClientEndpointFactory, UserProfileFactory

pytestmark = pytest.mark.django_db(transaction=True)

OLD = {
    "third_party_id": "old",
    "total_points": 1,
    "redeemable_points": 2,
    "monthly_points": 3,
    "monthly_points_period": date(2026, 1, 1),
    "weekly_points": 4,
    "weekly_points_period": date(2026, 1, 5),
}
NEW = {
    "third_party_id": "new",
    "total_points": 11,
    "redeemable_points": 12,
    "monthly_points": 13,
    "monthly_points_period": date(2026, 2, 1),
    "weekly_points": 14,
    "weekly_points_period": date(2026, 2, 2),
}
MINE = {
    "third_party_id": None,
    "total_points": 0,
    "redeemable_points": -2,
    "monthly_points": 7,
    "monthly_points_period": None,
    "weekly_points": 8,
    "weekly_points_period": date(2020, 1, 6),
}
# What the host counted itself is of no period: it is pushed as it is.
WITH_IT = {"monthly_points": {"monthly_points_period": None}, "weekly_points": {"weekly_points_period": None}}
every_column = pytest.mark.parametrize("name", OLD)


@pytest.fixture
def stale() -> UserProfile:
    """An instance whose row others have moved on."""
    UserProfileFactory(**OLD)
    instance = UserProfile.objects.get()
    others_write()
    return instance


def others_write(**values: Any) -> None:
    UserProfile._base_manager.update(**(values or NEW))


def stored() -> dict[str, Any]:
    return dict(UserProfile.objects.values(*OLD).get())


def test_what_an_answer_an_award_or_the_linked_user_moves_is_tracked() -> None:
    assert set(OLD) == {"third_party_id", *COUNTER_COLUMNS}
    assert {*OLD, "user_id", *USER_FIELDS} <= tracked_columns(UserProfile).keys()


def test_a_save_for_another_reason_takes_nothing_back(stale: UserProfile) -> None:
    stale.city = "Vienna"
    stale.save()
    assert stored() == NEW
    assert UserProfile.objects.get().city == "Vienna"


@every_column
def test_what_was_changed_on_the_instance_is_written_and_nothing_else(stale: UserProfile, name: str) -> None:
    setattr(stale, name, MINE[name])
    stale.save()
    assert stored() == {**NEW, name: MINE[name], **WITH_IT.get(name, {})}
    assert getattr(stale, name) == MINE[name]


@every_column
def test_it_is_written_once(stale: UserProfile, name: str) -> None:
    setattr(stale, name, MINE[name])
    stale.save()
    others_write()
    stale.save()
    assert stored() == NEW


@every_column
def test_what_was_changed_waits_for_a_save_that_includes_it(stale: UserProfile, name: str) -> None:
    setattr(stale, name, MINE[name])
    stale.save(update_fields=["city"])
    assert stored() == NEW
    stale.save()
    assert stored() == {**NEW, name: MINE[name], **WITH_IT.get(name, {})}


@every_column
def test_reading_another_column_again_does_not_forget_the_change(stale: UserProfile, name: str) -> None:
    setattr(stale, name, MINE[name])
    stale.refresh_from_db(fields=["city"])
    stale.save()
    assert stored() == {**NEW, name: MINE[name], **WITH_IT.get(name, {})}


def test_what_was_read_again_is_known(stale: UserProfile) -> None:
    stale.refresh_from_db()
    others_write(**OLD)
    stale.save()
    assert stored() == OLD


def test_what_was_not_read_is_not_written() -> None:
    UserProfileFactory(**OLD)
    instance = UserProfile.objects.only("city").get()
    others_write()
    instance.save()
    assert stored() == NEW
    instance = UserProfile.objects.only("city").get()
    instance.total_points = 5
    instance.save()
    assert stored() == {**NEW, "total_points": 5}


def test_an_expression_is_written_each_time(stale: UserProfile) -> None:
    for _ in range(2):
        stale.total_points = F("total_points") + 1
        stale.save()
        stale.refresh_from_db()
    stale.total_points = F("total_points") + 1
    stale.save()
    stale.total_points = F("total_points") + 1
    stale.save()
    assert stored()["total_points"] == 15


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301
    ids=["copy", "deep", "pickle"],
)
def test_a_copy_knows_what_the_original_knew(stale: UserProfile, duplicate: Callable[[Any], UserProfile]) -> None:
    twin = duplicate(stale)
    twin.total_points = 5
    twin.save()
    others_write()
    stale.save()
    twin.save()
    assert stored() == NEW


def test_one_that_was_just_created_is_stale_in_time_too() -> None:
    created = UserProfileFactory(**OLD)
    (in_bulk,) = UserProfile.objects.bulk_create([UserProfileFactory.build(**{**OLD, "third_party_id": "x"})])
    others_write(total_points=100)
    created.save()
    assert set(UserProfile.objects.values_list("total_points", flat=True)) == {100}
    if in_bulk.pk is not None:
        in_bulk.save()
    assert set(UserProfile.objects.values_list("total_points", flat=True)) == {100}


def test_one_that_was_made_by_hand_writes_all_that_it_says() -> None:
    pk = UserProfileFactory(**OLD).pk
    UserProfile(pk=pk, **NEW).save()
    assert stored() == NEW


def test_an_award_in_between_is_kept_and_so_is_the_next() -> None:
    mine, yours = UserProfileFactory(), UserProfile.objects.get()
    service.award_points(yours, 500)
    mine.save()
    service.award_points(mine, 20)
    service.award_points(yours, 3)
    mine.save()
    service.spend_points(yours, 100)
    mine.save()
    assert (stored()["total_points"], stored()["redeemable_points"]) == (523, 423)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda member: member.save(), id="saved"),
        pytest.param(lambda member: member.save(update_fields=["monthly_points", "weekly_points"]), id="saved in part"),
        pytest.param(lambda member: UserProfile.objects.update(monthly_points=70, weekly_points=7), id="updated"),
        pytest.param(
            lambda member: UserProfile.objects.bulk_update([member], ["monthly_points", "weekly_points"]), id="in bulk"
        ),
    ],
)
def test_what_the_host_counted_itself_is_pushed_however_long_ago_the_last_award_was(
    write: Callable[[UserProfile], object],
) -> None:
    ClientEndpointFactory()
    member = UserProfileFactory()
    service.award_points(member, 500, at=datetime(2026, 3, 2, tzinfo=UTC))
    member.monthly_points, member.weekly_points = 70, 7
    with stopped(datetime(2026, 6, 1, tzinfo=UTC)):
        write(member)
    body = json.loads(Push.objects.latest("sequence").payload or b"")
    assert (body["monthlyPoints"], body["weeklyPoints"]) == (70, 7)
