"""A program's ladder is edited as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from live_push.models import Tier, TierProgram
from tests.factories import TierProgramFactory, UserProfileFactory

from .forms import submit
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "tierprogram_form"


@pytest.fixture
def program() -> TierProgram:
    return TierProgramFactory()


def change(client: Client, program: TierProgram, **changes: Any) -> Any:
    return submit(client, url("tierprogram_change", program.pk), FORM, **changes)


def refused(response: Any) -> str:
    assert response.status_code == 200
    (formset,) = response.context["inline_admin_formsets"]
    return " ".join(str(error) for error in formset.formset.non_form_errors())


def test_a_border_between_two_tiers_is_moved_in_one_save(boss: Client, program: TierProgram) -> None:
    assert change(boss, program, **{"tiers-0-max_value": "1499", "tiers-1-min_value": "1500"}).status_code == 302
    assert list(Tier.objects.order_by("pk").values_list("min_value", "max_value")) == [
        (None, 1499),
        (1500, 2499),
        (2500, None),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"tiers-0-max_value": "900"}, ["Tier 1", "Tier 2", "gap"], id="a gap"),
        pytest.param({"tiers-1-min_value": "900"}, ["Tier 1", "Tier 2", "overlap"], id="an overlap"),
        pytest.param({"tiers-1-DELETE": "on"}, ["Tier 1", "Tier 3", "gap"], id="a rung taken out"),
        pytest.param({"tiers-2-max_value": "9999"}, ["Tier 3", "no maximum"], id="a top that ends"),
    ],
)
def test_what_is_no_ladder_is_refused_naming_the_tiers(
    boss: Client, program: TierProgram, changes: dict[str, str], words: list[str]
) -> None:
    said = refused(change(boss, program, **changes))
    assert all(word in said for word in words), said
    assert Tier.objects.count() == 3


def test_a_new_rung_is_added_at_the_top(boss: Client, program: TierProgram) -> None:
    added = {"tiers-3-title": "Tier 4", "tiers-3-min_value": "5000", "tiers-2-max_value": "4999"}
    assert change(boss, program, **added).status_code == 302
    assert Tier.objects.get(title="Tier 4").min_value == 5000


def test_a_new_rung_in_the_middle_stands_there_when_the_page_is_opened_again(
    boss: Client, program: TierProgram
) -> None:
    added = {"tiers-3-title": "Silver", "tiers-3-min_value": "500", "tiers-3-max_value": "999"}
    assert change(boss, program, **added, **{"tiers-0-max_value": "499"}).status_code == 302
    (formset,) = boss.get(url("tierprogram_change", program.pk)).context["inline_admin_formsets"]
    titles = [form.instance.title for form in formset.formset.forms]
    assert titles == ["Tier 1", "Silver", "Tier 2", "Tier 3", ""]


def test_a_tier_with_members_is_not_deleted(boss: Client, program: TierProgram) -> None:
    UserProfileFactory()
    gone = {"tiers-0-DELETE": "on", "tiers-1-min_value": ""}
    assert "tier membership" in refused(change(boss, program, **gone))


def test_a_program_may_begin_without_a_ladder(boss: Client) -> None:
    assert submit(boss, url("tierprogram_add"), FORM, name="New").status_code == 302


def test_a_second_default_is_refused_with_a_sentence(boss: Client, program: TierProgram) -> None:
    response = submit(boss, url("tierprogram_add"), FORM, name="New", is_default="on")

    assert "switch the default off there first" in str(response.context["errors"])
    assert TierProgram.objects.get() == program


def test_a_default_program_has_a_tier_to_start_in(boss: Client) -> None:
    response = submit(boss, url("tierprogram_add"), FORM, name="New", is_default="on")
    assert "needs at least one tier" in refused(response)
    assert not TierProgram.objects.exists()


def test_the_ladder_is_drawn_and_told(boss: Client, program: TierProgram) -> None:
    page = boss.get(url("tierprogram_change", program.pk)).content.decode()
    assert "Tier 2 (1000 to 2499 points), Tier 3 (from 2500 points)" in page
    assert page.count('class="lp-rung"') == 3


def test_the_list_counts_tiers_and_members(boss: Client, program: TierProgram) -> None:
    UserProfileFactory.create_batch(2)
    (row,) = boss.get(url("tierprogram_changelist")).context["cl"].result_list
    assert (row.tier_total, row.member_total) == (3, 2)
