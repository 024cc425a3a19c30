"""Members: a save is a push, and nothing that others wrote meanwhile is taken back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from live_push import api
from live_push.admin.shared.history import history_in_words
from live_push.admin.shared.json_field import JsonField
from live_push.models import Attempt, ClientEndpoint, Delivery, Push, Tier, TierEvent, TierMembership, UserProfile
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, TierProgramFactory, UserProfileFactory
from tests.support import OK, deliver, status

from .conftest import Staff
from .forms import confirm_twice, fields, submit
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "userprofile_form"


def change(client: Client, profile: UserProfile, **changes: Any) -> Any:
    response = submit(client, url("userprofile_change", profile.pk), FORM, **changes)
    assert response.status_code == 302, response.context["adminform"].form.errors
    return response


class TestForm:
    def test_a_save_is_pushed(self, boss: Client) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        change(boss, profile, city="Vienna")
        newest = Push.objects.latest("sequence")
        assert (newest.trigger, json.loads(newest.payload or b"")["city"]) == ("updated", "Vienna")

    def test_a_save_that_changes_nothing_is_pushed(self, boss: Client) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        change(boss, profile)
        assert Push.objects.count() == 2

    def test_a_new_member_is_pushed(self, boss: Client) -> None:
        ClientEndpointFactory()
        assert submit(boss, url("userprofile_add"), FORM, user_name="ada").status_code == 302
        assert Push.objects.get().profile == UserProfile.objects.get(user_name="ada")

    def test_what_others_wrote_while_the_form_was_open_stays(self, boss: Client) -> None:
        profile = UserProfileFactory()
        opened = fields(boss, url("userprofile_change", profile.pk), FORM)
        UserProfile._base_manager.update(third_party_id="T-1", first_name="Grace")
        api.award_points(profile, 70)
        boss.post(url("userprofile_change", profile.pk), {**opened, "city": "Vienna"})
        now = UserProfile.objects.get()
        assert (now.city, now.third_party_id, now.total_points, now.first_name) == ("Vienna", "T-1", 70, "Grace")

    def test_what_follows_a_linked_user_is_not_edited_here(self, boss: Client) -> None:
        profile = UserProfileFactory(user=User.objects.create_user("ada", "ada@example.com"))
        offered = fields(boss, url("userprofile_change", profile.pk), FORM)
        assert not {"user_name", "email_address", "first_name", "is_active"} & set(offered)
        profile.user = None
        profile.save()
        assert "user_name" in fields(boss, url("userprofile_change", profile.pk), FORM)

    def test_the_third_party_id_has_a_permission_of_its_own(self, staff: Staff) -> None:
        address = url("userprofile_change", UserProfileFactory().pk)
        both = ("view_userprofile", "change_userprofile")
        assert "third_party_id" not in fields(staff(*both), address, FORM)
        assert "third_party_id" in fields(staff(*both, "change_third_party_id"), address, FORM)
        submit(staff(*both), address, FORM, third_party_id="mine")
        assert UserProfile.objects.get().third_party_id is None

    @pytest.mark.parametrize(
        ("field", "typed", "words"),
        [
            pytest.param("custom_data", '{"a": ' + "[" * 100_000, "valid JSON", id="nested beyond reading"),
            pytest.param("custom_data", '{"a": ' + "9" * 5000 + "}", "valid JSON", id="a number without an end"),
            pytest.param("custom_data", '{"a": "\\u0000"}', "U+0000", id="what PostgreSQL does not keep"),
            pytest.param("custom_data", '{"\\ud800": "a"}', "U+D800", id="half a character"),
            pytest.param("custom_data", '"a"', "found str", id="a text"),
            pytest.param("date_of_birth", "0001-01-01T00:00:00+14:00", "such as 1974-07-06", id="before the year 1"),
            pytest.param("date_of_birth", "9999-12-31T23:00:00-14:00", "such as 1974-07-06", id="after the year 9999"),
        ],
    )
    def test_what_no_database_keeps_is_refused_with_a_sentence(
        self, boss: Client, field: str, typed: str, words: str
    ) -> None:
        response = submit(boss, url("userprofile_add"), FORM, user_name="ada", **{field: typed})

        assert words in str(response.context["adminform"].form.errors[field])
        assert not UserProfile.objects.exists()

    def test_half_a_character_that_a_program_stored_is_shown_as_json_spells_it(self) -> None:
        assert JsonField().prepare_value({"a": "\ud800", "b": "ö"}) == '{"a": "\\ud800", "b": "ö"}'

    def test_the_history_names_no_member(self, boss: Client) -> None:
        profile = UserProfileFactory(user_name="ada.lovelace")
        change(boss, profile, city="Vienna")
        boss.post(url("userprofile_delete", profile.pk), {"post": "yes"})
        assert not UserProfile.objects.exists()
        for entry in LogEntry.objects.all():
            assert entry.object_repr == f"#{profile.pk}"
            assert "ada" not in entry.change_message
            assert "Vienna" not in entry.change_message

    def test_the_tier_is_not_edited_in_place(self, boss: Client) -> None:
        TierProgramFactory()
        offered = fields(boss, url("userprofile_change", UserProfileFactory().pk), FORM)
        assert [name for name in offered if name.startswith("tier_membership-0")] == ["tier_membership-0-profile"]

    def test_a_tier_that_is_smuggled_into_the_form_changes_nothing(self, boss: Client) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        before = TierMembership.objects.values().get()
        top = Tier.objects.latest("min_value")
        change(boss, profile, **{"tier_membership-0-tier": top.pk, "tier_membership-0-tier_score": 9999})
        assert TierMembership.objects.values().get() == before
        assert TierMembership not in admin.site._registry


class TestPage:
    def test_it_tells_where_each_endpoint_stands(self, boss: Client) -> None:
        ClientEndpointFactory(name="confirming")
        profile = UserProfileFactory()
        deliver(OK)
        ClientEndpoint.objects.update(is_active=False)
        ClientEndpointFactory(name="lagging")
        profile.save()
        deliver(OK)
        ClientEndpoint.objects.filter(name="lagging").update(is_active=False)
        ClientEndpointFactory(name="new", is_active=False)
        stand = boss.get(url("userprofile_change", profile.pk)).context["endpoint_states"]
        assert {endpoint.name: str(badge.word) for endpoint, badge, _ in stand} == {
            "confirming": "behind",
            "lagging": "confirmed",
            "new": "never sent",
        }

    def test_it_tells_the_way_through_the_tiers(self, boss: Client) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        api.award_points(profile, 1200)
        page = boss.get(url("userprofile_change", profile.pk)).content.decode()
        assert "jump: Tier 1 → Tier 2" in page
        assert "timeframe score 0 → 1200" in page
        assert "tier score 0 → 200" in page
        assert "applied" not in page

    def test_it_tells_when_a_late_run_applied_what_had_been_due(self, boss: Client) -> None:
        TierProgramFactory(timeframe="rolling", length=1)
        with stopped(datetime(2026, 1, 31, tzinfo=UTC)):
            profile = UserProfileFactory()
        with stopped(datetime(2026, 3, 7, 15, tzinfo=UTC)):
            api.apply_due_tier_changes()
            page = boss.get(url("userprofile_change", profile.pk)).content.decode()
        told = " ".join(re.sub("<[^>]+>", " ", page).split())
        assert "maintain: Tier 1 → Tier 1 1 week ago Feb. 28, 2026, midnight UTC · the clock" in told
        assert "applied now 3 p.m. UTC" in told

    def test_many_changes_of_score_do_not_hide_the_way(self, boss: Client) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        for points in (1200, *[1] * 12):
            api.award_points(profile, points)
        page = boss.get(url("userprofile_change", profile.pk))
        told = [event.event for event, *_ in page.context["tier_events"]]
        assert told == [*["update"] * 10, "jump", "start"]

    def test_points_of_a_week_that_has_passed_read_as_0_as_in_the_push(self, boss: Client) -> None:
        TierProgramFactory()
        with stopped(datetime(2026, 3, 2, tzinfo=UTC)):
            profile = UserProfileFactory()
            api.award_points(profile, 40)
        with stopped(datetime(2026, 3, 9, tzinfo=UTC)):
            page = boss.get(url("userprofile_change", profile.pk)).content.decode()
        (week,) = re.findall(r'points_this_week.*?<div class="readonly">(\d+)</div>', page, re.DOTALL)
        (month,) = re.findall(r'points_this_month.*?<div class="readonly">(\d+)</div>', page, re.DOTALL)
        assert (month, week) == ("40", "0")

    def test_it_tells_how_far_the_next_tier_is(self, boss: Client) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        api.award_points(profile, 700)
        page = boss.get(url("userprofile_change", profile.pk)).content.decode()
        assert "700 of the 1000 points for “Tier 2”." in page
        assert '<meter class="lp-meter" min="0" max="1000" value="700"' in page
        api.award_points(profile, 2000)
        assert "<meter" not in boss.get(url("userprofile_change", profile.pk)).content.decode()

    def test_it_tells_which_ids_came_back_and_what_came_of_them(self, boss: Client, staff: Staff) -> None:
        ClientEndpointFactory(capturing=True)
        UserProfileFactory(third_party_id="taken")
        Delivery.objects.all().delete()
        profile = UserProfileFactory()
        for answered in (b"first", b"second", b"taken"):
            profile.refresh_from_db()
            profile.save()
            deliver(status(200, b'{"third_party_id": "%s"}' % answered))
        page = boss.get(url("userprofile_change", profile.pk)).content.decode()
        for told in ("stored", "stored; it replaced “first”", "conflict: it belongs to another member"):
            assert f"<td>{told}</td>" in page, told
        page = staff("view_userprofile").get(url("userprofile_change", profile.pk)).content.decode()
        assert "it replaced" not in page

    def test_recent_pushes_are_for_those_who_may_see_deliveries(self, staff: Staff) -> None:
        ClientEndpointFactory()
        address = url("userprofile_change", UserProfileFactory().pk)
        assert "Recent pushes" not in staff("view_userprofile").get(address).content.decode()
        assert "Recent pushes" in staff("view_userprofile", "view_delivery").get(address).content.decode()


class TestPreview:
    def test_it_shows_the_very_bytes_that_would_go_out(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory(basic=True, withheld_fields=["city"], signing_secret="whsec_" + "A" * 32)
        profile = UserProfileFactory(city="Vienna")
        context = boss.get(url("userprofile_preview", profile.pk), {"endpoint": endpoint.pk}).context
        (request,) = deliver(OK)
        assert context["shown"]["body"] == request.body.decode()
        shown, sent = dict(context["shown"]["headers"]), dict(request.headers)
        assert set(shown) == set(sent)
        assert shown["live-push-sequence"] == sent["live-push-sequence"]
        assert shown["Authorization"] == "Basic ••••"

    def test_it_sends_and_records_nothing(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        before = UserProfile.objects.values().get()
        boss.get(url("userprofile_preview", profile.pk), {"endpoint": endpoint.pk})
        assert UserProfile.objects.values().get() == before
        assert Delivery.objects.count() == 1

    def test_it_tells_what_the_endpoint_has_not_accepted_yet(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(city="Vienna")
        address = url("userprofile_preview", profile.pk) + f"?endpoint={endpoint.pk}"
        assert "not accepted any state" in boss.get(address).content.decode()
        deliver(OK)
        assert "accepted exactly this body" in boss.get(address).content.decode()
        profile.city = "Graz"
        profile.save()
        assert "<code>city</code>" in boss.get(address).content.decode()
        Push.objects.update(payload=None)
        assert "not stored any more" in boss.get(address).content.decode()

    def test_what_keeps_it_from_being_built_is_told(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory(custom_data={"a": {"b": 1}})
        page = boss.get(url("userprofile_preview", profile.pk), {"endpoint": endpoint.pk}).content.decode()
        assert "customData" in page

    def test_it_needs_the_permission_to_see_content(self, staff: Staff) -> None:
        address = url("userprofile_preview", UserProfileFactory().pk)
        assert staff("view_userprofile").get(address).status_code == 403
        assert staff("view_userprofile", "view_delivery_content").get(address).status_code == 200


class TestPushing:
    def test_all_active_endpoints_are_chosen_at_first(self, boss: Client) -> None:
        active = ClientEndpointFactory.create_batch(2)
        ClientEndpointFactory(is_active=False)
        page = boss.get(url("userprofile_push", UserProfileFactory().pk))
        offered = page.context["form"]["endpoints"].subwidgets
        assert [(choice.choice_label, choice.data["selected"]) for choice in offered] == [
            (endpoint.name, True) for endpoint in active
        ]

    def test_the_current_state_goes_to_the_chosen_ones_alone(self, boss: Client) -> None:
        profile = UserProfileFactory()
        chosen, _ = ClientEndpointFactory(name="acme"), ClientEndpointFactory()
        boss.post(url("userprofile_push", profile.pk), {"endpoints": [chosen.pk]})
        assert [(row.endpoint, row.push.trigger) for row in Delivery.objects.all()] == [(chosen, "resend")]
        assert history_in_words(LogEntry.objects.get()) == "Resent the current state to acme."

    def test_a_double_click_sends_once(self, boss: Client) -> None:
        address = url("userprofile_push", UserProfileFactory().pk)
        confirm_twice(boss, boss.get(address).content.decode(), address, endpoints=[ClientEndpointFactory().pk])
        assert Push.objects.filter(trigger="resend").count() == 1

    def test_neither_looking_nor_choosing_none_or_a_paused_one_sends(self, boss: Client) -> None:
        paused = ClientEndpointFactory(is_active=False)
        address = url("userprofile_push", UserProfileFactory().pk)
        boss.get(address, {"endpoints": [paused.pk]})
        for chosen in ([], [paused.pk]):
            assert boss.post(address, {"endpoints": chosen}).context["form"].errors["endpoints"]
        assert not Delivery.objects.exists()

    def test_it_needs_its_permission(self, staff: Staff) -> None:
        address = url("userprofile_push", UserProfileFactory().pk)
        assert staff("view_userprofile", "view_clientendpoint").post(address).status_code == 403
        assert staff("view_userprofile", "view_clientendpoint", "resend_delivery").post(address).status_code == 200


class TestErasingTheLog:
    @pytest.fixture
    def member(self) -> UserProfile:
        ClientEndpointFactory()
        other, member = UserProfileFactory(), UserProfileFactory(email_address="ada@example.com")
        deliver(status(200, b"hello Ada"))
        assert Attempt.objects.filter(delivery__profile=other, answer__isnull=False).exists()
        return member

    def test_it_is_asked_first(self, boss: Client, member: UserProfile) -> None:
        page = boss.get(url("userprofile_erase", member.pk)).content.decode()
        assert "erased permanently" in page
        assert Push.objects.filter(payload__isnull=False).count() == 2

    def test_bodies_and_answers_of_this_member_go_and_what_waits_stays(self, boss: Client, member: UserProfile) -> None:
        member.save()
        boss.post(url("userprofile_erase", member.pk))
        kept = [(row.status, row.push.payload is not None) for row in Delivery.objects.filter(profile=member)]
        assert sorted(kept) == [("pending", True), ("succeeded", False)]
        assert not Attempt.objects.filter(delivery__profile=member, answer__isnull=False).exists()
        assert Attempt.objects.filter(answer__isnull=False).count() == 1

    def test_the_history_tells_it_without_the_members_data(self, boss: Client, member: UserProfile) -> None:
        boss.post(url("userprofile_erase", member.pk))
        entry = LogEntry.objects.get()
        assert (entry.object_repr, history_in_words(entry)) == (f"#{member.pk}", "Erased the push log.")

    def test_it_needs_its_permission_and_comes_from_its_own_page(self, staff: Staff, member: UserProfile) -> None:
        address = url("userprofile_erase", member.pk)
        assert staff("view_userprofile", "resend_delivery").post(address).status_code == 403
        allowed = staff("view_userprofile", "erase_delivery_content")
        careful = Client(enforce_csrf_checks=True)
        careful.cookies = allowed.cookies
        assert careful.post(address).status_code == 403
        assert Push.objects.filter(payload__isnull=False).count() == 2
        assert allowed.post(address).status_code == 302


class TestOverride:
    def override(self, client: Client, profile: UserProfile, title: str, reason: str = "Ticket 7") -> Any:
        tier = Tier.objects.get(title=title)
        return client.post(url("userprofile_override", profile.pk), {"tier": tier.pk, "reason": reason})

    def test_a_member_jumps_by_hand_and_is_pushed(self, boss: Client) -> None:
        TierProgramFactory()
        ClientEndpointFactory()
        profile = UserProfileFactory()
        assert self.override(boss, profile, "Tier 3").status_code == 302
        assert TierEvent.objects.latest("pk").cause == "override"
        assert json.loads(Push.objects.latest("sequence").payload or b"")["fanLevelName"] == "Tier 3"
        assert history_in_words(LogEntry.objects.get()) == "Put into tier “Tier 3”: Ticket 7"

    def test_the_tier_that_a_member_is_in_is_refused_with_a_sentence(self, boss: Client) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        response = self.override(boss, profile, "Tier 1")
        assert response.context["form"].errors["tier"]
        assert not LogEntry.objects.exists()

    def test_it_needs_its_permission(self, staff: Staff) -> None:
        TierProgramFactory()
        profile = UserProfileFactory()
        client = staff("view_userprofile", "change_userprofile")
        assert self.override(client, profile, "Tier 3").status_code == 403


class TestList:
    @pytest.mark.parametrize("term", ["ada", "ada@example.com", "T-7"])
    def test_members_are_found_exactly(self, boss: Client, term: str) -> None:
        UserProfileFactory(user_name="adam")
        wanted = UserProfileFactory(user_name="ada", email_address="ada@example.com", third_party_id="T-7")
        found = boss.get(url("userprofile_changelist"), {"q": term}).context["cl"].result_list
        assert [profile.pk for profile in found] == [wanted.pk]

    def test_the_current_state_of_many_is_resent(self, boss: Client) -> None:
        ids = [str(profile.pk) for profile in UserProfileFactory.create_batch(2)]
        ClientEndpointFactory()
        chosen = {"action": "resend", "_selected_action": ids}
        page = boss.post(url("userprofile_changelist") + "?is_active__exact=1", chosen).content.decode()
        assert "Resend 2 profiles" in page
        assert "It is sent to 1 active endpoint. At most 2 deliveries are recorded." in page
        assert not Push.objects.filter(trigger="resend").exists()
        answers = confirm_twice(boss, page)
        assert answers[0].redirect_chain[0][0] == url("userprofile_changelist") + "?is_active__exact=1"
        assert "2 deliveries were recorded." in answers[0].content.decode()
        assert "but done only once" in answers[1].content.decode()
        assert Push.objects.filter(trigger="resend").count() == 2
        assert {entry.object_repr for entry in LogEntry.objects.all()} == {f"#{pk}" for pk in ids}

    def test_without_an_active_endpoint_there_is_nothing_to_confirm(self, boss: Client) -> None:
        ClientEndpointFactory(is_active=False)
        chosen = {"action": "resend", "_selected_action": [UserProfileFactory().pk]}
        page = boss.post(url("userprofile_changelist"), chosen, follow=True).content.decode()
        assert "There is no active endpoint, so nothing would be sent. Add or resume one." in page

    def test_its_queries_do_not_grow_with_the_rows(self, boss: Client, django_assert_num_queries: Any) -> None:
        TierProgramFactory()
        for members in (1, 20):
            UserProfileFactory.create_batch(members)
            with django_assert_num_queries(7):
                boss.get(url("userprofile_changelist"))
