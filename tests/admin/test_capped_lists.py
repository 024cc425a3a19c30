"""Lists that find more rows than they count: they say so, and no action takes on more rows than the page says."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from live_push.admin.shared import base
from live_push.admin.shared.base import LivePushAdmin
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory

from .pages import url
from .test_attacks import everything

pytestmark = pytest.mark.django_db(transaction=True)

CAP, PER_PAGE, ROWS = 3, 2, 5
ADMINS = [admin for admin in site._registry.values() if isinstance(admin, LivePushAdmin)]
EVERY_LIST = pytest.mark.parametrize("admin", ADMINS, ids=lambda admin: admin.opts.model_name)


@pytest.fixture(autouse=True)
def _five_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS_LISTED", CAP)
    monkeypatch.setattr(LivePushAdmin, "list_per_page", PER_PAGE)
    TierProgramFactory()
    TierProgramFactory.create_batch(ROWS - 1, is_default=False)
    UserProfileFactory.create_batch(ROWS)
    # Last and one at a time: nothing is recorded before, and each of the members is pushed to one.
    ClientEndpointFactory.create_batch(ROWS - 1, is_active=False)
    ClientEndpointFactory()
    for profile in UserProfileFactory._meta.model.objects.all():
        profile.save()


def list_of(admin: Any) -> str:
    return url(f"{admin.opts.model_name}_changelist")


def shown(client: Client, admin: Any) -> str:
    """The page of a list; themes break lines where Django does not."""
    return " ".join(client.get(list_of(admin)).content.decode().split())


def actions_of(admin: Any) -> list[str]:
    request = RequestFactory().get("/")
    request.user = User.objects.get()
    return list(admin.get_actions(request))


def test_every_list_of_ours_is_looked_at() -> None:
    assert {admin.opts.model_name for admin in ADMINS} == {"clientendpoint", "delivery", "tierprogram", "userprofile"}


@EVERY_LIST
def test_a_list_says_that_there_are_more_and_offers_no_choice_of_all(boss: Client, admin: Any) -> None:
    assert admin.model._default_manager.count() == ROWS
    page = shown(boss, admin)
    assert f"3+ {admin.opts.verbose_name_plural}" in page
    assert "Only the first 3 are listed" in page
    assert "0 of 2 selected" in page
    assert "Select all 3" not in page
    assert "across all pages" not in page
    assert "All 3 selected" not in page
    assert "3 results" not in page


@EVERY_LIST
@pytest.mark.parametrize("number", [10_000, 10_001])
def test_a_number_of_four_digits_is_grouped(
    boss: Client, admin: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "ROWS_LISTED", 10_000)
    monkeypatch.setattr(base.CappedPaginator, "_counted", number)
    page = shown(boss, admin)
    assert (f"10,000+ {admin.opts.verbose_name_plural}" in page) is (number > 10_000)
    assert ("Select all 10000" in page) is (number == 10_000)


@EVERY_LIST
def test_a_list_that_ends_at_the_bound_offers_all_of_it(
    boss: Client, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "ROWS_LISTED", ROWS)
    page = shown(boss, admin)
    assert f"5 {admin.opts.verbose_name_plural}" in page
    assert "Select all 5" in page
    assert "listed and counted" not in page


@EVERY_LIST
@pytest.mark.parametrize("across", ["1", "on", "True"])
def test_no_action_takes_on_more_rows_than_the_page_says(boss: Client, admin: Any, across: str) -> None:
    before = everything()
    for action in actions_of(admin):
        # As from a script, with the confirmations in it; with and without the number of the button.
        forged = {"action": action, "select_across": across, "_selected_action": ["1"], "post": "yes", "confirmed": "1"}
        for data in (forged, {**forged, "index": "0"}):
            answer = boss.post(list_of(admin), data, follow=True)
            assert "More than 3 are chosen. Narrow the choice" in answer.content.decode(), action
    assert everything() == before


@EVERY_LIST
def test_no_action_takes_on_more_named_rows_than_a_page_can_list(boss: Client, admin: Any) -> None:
    before = everything()
    ids = [str(pk) for pk in admin.model._default_manager.values_list("pk", flat=True)]
    for action in actions_of(admin):
        forged = {"action": action, "_selected_action": ids, "post": "yes", "confirmed": "1"}
        answer = boss.post(list_of(admin), forged, follow=True)
        assert "More than 3 are chosen. Narrow the choice" in answer.content.decode(), action
    assert everything() == before


def test_deleting_takes_what_was_named_and_no_more(boss: Client) -> None:
    from live_push.models import UserProfile

    first, *rest = UserProfile.objects.order_by("pk").values_list("pk", flat=True)
    chosen = {"action": "delete_selected", "_selected_action": [str(first)], "select_across": "0", "post": "yes"}
    boss.post(url("userprofile_changelist"), chosen)
    assert list(UserProfile.objects.order_by("pk").values_list("pk", flat=True)) == rest
