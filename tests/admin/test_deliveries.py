"""Deliveries: found among many, told as a story, done again."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from live_push.admin.deliveries import filters
from live_push.admin.shared import base
from live_push.admin.shared.history import history_in_words
from live_push.api import push_profile, push_profiles
from live_push.models import Attempt, ClientEndpoint, Delivery, EndpointHealth, EndpointHour, Push, UserProfile
from live_push.models.clock import db_now, stopped
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

from .conftest import Staff
from .pages import url

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def listed(client: Client, **query: Any) -> list[int]:
    context = client.get(url("delivery_changelist"), query).context
    return [delivery.pk for delivery in context["cl"].result_list]


def told(client: Client, delivery: Delivery | None = None) -> str:
    delivery = delivery or Delivery.objects.get()
    return str(client.get(url("delivery_change", delivery.pk)).content.decode())


def do(client: Client, action: str, delivery: Delivery, **data: Any) -> Any:
    return client.post(url("delivery_action", delivery.pk), {"action": action, **data}, follow=True)


class TestFinding:
    def test_by_status_endpoint_time_and_cause(self, boss: Client) -> None:
        with stopped(START):
            first = ClientEndpointFactory()
            UserProfileFactory()
            deliver(Result(error_code="timeout"))
        with stopped(START + 2 * HOUR):
            ClientEndpoint.objects.filter(pk=first.pk).update(is_active=False)
            second = ClientEndpointFactory()
            UserProfileFactory()
            deliver(OK)
            old, new = Delivery.objects.order_by("pk")
            assert listed(boss) == [new.pk, old.pk]
            assert listed(boss, status__exact="succeeded") == [new.pk]
            assert listed(boss, endpoint__id__exact=second.pk) == [new.pk]
            assert listed(boss, recorded="hour") == [new.pk]
            assert listed(boss, recorded="day") == [new.pk, old.pk]
            assert listed(boss, cause="timeout") == [old.pk]

    def test_by_event_id_member_id_third_party_id_and_address(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        profile = UserProfileFactory(third_party_id="T-7", email_address="ada@example.com")
        wanted = Delivery.objects.get(profile=profile)
        for term in (wanted.push.event_id, profile.pk, "T-7", "ada@example.com", " T-7 "):
            assert listed(boss, q=term) == [wanted.pk], term

    @pytest.mark.parametrize("term", ["T", "example.com", "ada", "99999999999999999999", "nobody@example.com"])
    def test_parts_of_anything_find_nothing(self, boss: Client, term: str) -> None:
        ClientEndpointFactory()
        UserProfileFactory(third_party_id="T-7", email_address="ada@example.com", user_name="ada")
        assert listed(boss, q=term) == []

    def test_an_address_finds_nothing_for_who_may_not_see_members(self, staff: Staff) -> None:
        ClientEndpointFactory()
        UserProfileFactory(email_address="ada@example.com")
        assert listed(staff("view_delivery"), q="ada@example.com") == []
        assert len(listed(staff("view_delivery", "view_userprofile"), q="ada@example.com")) == 1

    def test_by_the_class_of_the_last_answer(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory.create_batch(5)
            deliver(status(302), status(404), status(503), Result(error_code="timeout"), OK)
            # Waits for its first attempt, and so was not answered because it was not asked.
            UserProfileFactory()
            moved, refused, broken, silent, accepted, _ = [row.pk for row in Delivery.objects.order_by("pk")]
            for chosen, pk in {"2": accepted, "3": moved, "4": refused, "5": broken, "none": silent}.items():
                assert listed(boss, answer=chosen) == [pk], chosen
            assert len(listed(boss, answer="nonsense")) == 6

    def test_by_ids_of_other_members_in_the_answers_although_these_were_accepted(self, boss: Client) -> None:
        ClientEndpointFactory(capturing=True)
        UserProfileFactory.create_batch(3)
        deliver(*[status(200, b'{"third_party_id": "%s"}' % given) for given in (b"T-1", b"T-1", b"T-2")])
        offered = boss.get(url("delivery_changelist")).content.decode()
        assert "?cause=id_conflict" in offered
        conflict = Attempt.objects.get(capture_conflict=True)
        assert listed(boss, cause="id_conflict") == [conflict.delivery_id]
        assert listed(boss, cause="id_conflict", endpoint=conflict.delivery.endpoint_id) == [conflict.delivery_id]
        for page in (url("clientendpoint_changelist"), url("overview")):
            assert "cause=id_conflict" in boss.get(page).content.decode(), page
        EndpointHour.objects.all().delete()
        assert listed(boss, cause="id_conflict") == []

    @pytest.mark.parametrize("most", [10_000, 1, 0])
    def test_by_what_caused_the_push_whether_few_or_many_have(
        self, boss: Client, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        monkeypatch.setattr(filters, "ROWS_LISTED", most)
        ClientEndpointFactory.create_batch(2)
        profile = UserProfileFactory()
        profile.save()
        push_profile(profile)
        newest_first = list(Delivery.objects.order_by("-pk").values_list("pk", flat=True))
        assert listed(boss) == newest_first
        for chosen, rows in {
            "resend": [0, 1],
            "updated": [2, 3],
            "created": [4, 5],
            "user": [],
            "test": range(6),
        }.items():
            assert listed(boss, trigger=chosen) == [newest_first[row] for row in rows], chosen
        first = Delivery.objects.earliest("pk")
        assert listed(boss, trigger="created", endpoint=first.endpoint_id) == [first.pk]

    def test_each_row_tells_how_many_attempts_of_how_many_and_how_long_the_last_one_took(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory()
            deliver(status(413, duration_ms=700))
        with stopped(START + HOUR):
            page = boss.get(url("delivery_changelist")).content.decode()
            assert "1 of 40<br>" in page
            assert "700 ms" in page
            do(boss, "redeliver", Delivery.objects.get())
            deliver(status(500, duration_ms=31))
            page = boss.get(url("delivery_changelist")).content.decode()
        assert "1 of 40 (2 in all)" in page
        assert "31 ms" in page
        assert "700 ms" not in page

    def test_each_row_leads_to_its_member_and_names_it_to_those_who_may_see_members(
        self, boss: Client, staff: Staff
    ) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(user_name="ada.lovelace")
        link = f'<a href="{url("userprofile_change", profile.pk)}">#{profile.pk} ada.lovelace</a>'
        assert link in boss.get(url("delivery_changelist")).content.decode()
        page = staff("view_delivery").get(url("delivery_changelist")).content.decode()
        assert f"#{profile.pk} a…<br>" in page
        assert "lovelace" not in page
        profile.delete()
        assert "lovelace" not in boss.get(url("delivery_changelist")).content.decode()

    def test_the_states_above_the_list_keep_the_other_filters(self, boss: Client) -> None:
        context = boss.get(url("delivery_changelist"), {"recorded": "day", "status__exact": "failed", "p": "1"}).context
        views = {str(name): (address, current) for name, address, current in context["quick_views"]}
        assert views["all"] == ("?recorded=day", False)
        assert views["failed"] == ("?recorded=day&status__exact=failed", True)

    def test_what_was_recorded_while_its_endpoint_was_being_deleted_is_left_out(self, boss: Client) -> None:
        _kept, deleted = ClientEndpointFactory.create_batch(2)
        UserProfileFactory()
        kept = Delivery.objects.exclude(endpoint=deleted).get()
        EndpointHealth.objects.filter(pk=deleted.pk).delete()
        ClientEndpoint.objects.filter(pk=deleted.pk)._raw_delete("default")
        assert listed(boss) == [kept.pk]

    def test_the_short_id_tells_the_events_of_one_bulk_resend_apart(self, boss: Client) -> None:
        UserProfileFactory.create_batch(3)
        endpoint = ClientEndpointFactory()
        assert push_profiles(UserProfile.objects.all()) == 3
        ids = [str(event_id) for event_id in Push.objects.filter(trigger="resend").values_list("event_id", flat=True)]
        assert len({event_id[:8] for event_id in ids}) == 1
        for address in (url("delivery_changelist"), url("clientendpoint_change", endpoint.pk)):
            links = re.findall(r"/delivery/\d+/change/[^>]*>([^<]+)", boss.get(address).content.decode())
            assert len(set(links)) == 3, address
            assert all(any(event_id.startswith(link) for event_id in ids) for link in links), address

    def test_a_list_counts_no_further_than_it_pages(self, boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "ROWS_LISTED", 3)
        ClientEndpointFactory()
        UserProfileFactory.create_batch(5)
        page = boss.get(url("delivery_changelist")).content.decode()
        assert "Only the first 3 are listed" in page

    def test_its_queries_do_not_grow_with_the_rows(self, boss: Client, django_assert_num_queries: Any) -> None:
        ClientEndpointFactory.create_batch(2)
        for members in (1, 20):
            UserProfileFactory.create_batch(members)
            deliver(*[status(500)] * 2 * members)
            with django_assert_num_queries(14):
                boss.get(url("delivery_changelist"))

    def test_no_query_of_the_list_counts_the_whole_log_or_sorts_out_doubles(self, boss: Client) -> None:
        from tests.support import statements

        ClientEndpointFactory()
        UserProfileFactory()
        for query in ({}, {"status__exact": "pending"}, {"q": "T-1"}, {"recorded": "day"}):
            for sql in statements(lambda query=query: boss.get(url("delivery_changelist"), query)):  # type: ignore[misc]
                if "live_push_delivery" in sql and "COUNT" in sql:
                    assert "LIMIT" in sql
                assert not ("live_push_delivery" in sql and "DISTINCT" in sql)

    def test_what_is_as_old_as_the_log_is_recent_enough(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        rows = filters.recorded_since(Delivery.objects.all(), START - timedelta(days=36_500))
        assert rows.count() == 1


class TestStory:
    def test_each_attempt_is_told_with_cause_answer_and_what_comes_next(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory(name="acme", basic=True)
            UserProfileFactory()
            deliver(status(500, b"out of order", duration_ms=31))
            page = told(boss)
        for part in (
            "pending, retried",
            "Attempt 1: first attempt",
            "status 500",
            "server_error",
            "Ask the client to check its logs.",
            "took 31 ms",
            "out of order",
            "Basic ••••",
            "Next attempt",
            "12:00",
            "Schedule: at once, then after 10 s, 50 s,",
        ):
            assert part in page, part

    def test_what_is_retried_tells_until_when(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory()
            assert "Given up at the latest" not in told(boss)
            deliver(status(500))
            page = told(boss)
        assert re.search(r'Given up at the latest: <time [^>]*datetime="2026-03-01T20:00:00', page)

    def test_a_hostile_answer_is_text(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(500, b"<img src=x onerror=alert(1)>"))
        assert "&lt;img src=x onerror=alert(1)&gt;" in told(boss)

    def test_a_cut_answer_says_so(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(500, b"x" * 20_000))
        assert "Cut here" in told(boss)

    @pytest.mark.parametrize(("complete", "said"), [(True, False), (False, True)], ids=["whole", "lost connection"])
    def test_an_answer_that_a_lost_connection_cut_says_so_however_short(
        self, boss: Client, complete: bool, said: bool
    ) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(Result(status_code=200, body=b'{"half": ', body_complete=complete))
        assert ("Cut here" in told(boss)) == said
        assert bytes(Attempt.objects.get().answer or b"").startswith(b'{"half": ')

    def test_without_the_permission_bodies_and_answers_stay_out(self, staff: Staff) -> None:
        ClientEndpointFactory()
        UserProfileFactory(city="Vienna", email_address="ada@example.com")
        deliver(status(500, b"sorry, Ada of Vienna"))
        page = told(staff("view_delivery"))
        assert "You need the permission to view content" in page
        assert "&quot;city&quot;: &quot;•••• text&quot;" in page
        assert "&quot;totalPoints&quot;: &quot;•••• number&quot;" in page
        assert "Vienna" not in page
        assert "ada@example.com" not in page

    def test_what_changed_since_the_accepted_state_is_told(self, boss: Client, staff: Staff) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(city="Vienna")
        deliver(OK)
        profile.city = "Graz"
        profile.save()
        newer = Delivery.objects.latest("pk")
        page = told(boss, newer)
        assert "<code>city</code>" in page
        assert "Vienna" in page
        page = told(staff("view_delivery"), newer)
        assert "<code>city</code>" in page
        assert "Vienna" not in page

    def test_a_body_that_is_gone_says_so(self, boss: Client) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(OK)
        profile.save()
        first, second = Delivery.objects.order_by("pk")
        Push.objects.filter(pk=first.push_id).update(payload=None)
        assert "not stored any more: it was erased or pruned" in told(boss, first)
        assert "The body that was accepted before is not stored any more." in told(boss, second)

    def test_options_that_changed_since_are_told(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory(city="Vienna")
        deliver(OK)
        assert "Exactly the body below was sent." in told(boss)
        endpoint.withheld_fields = ["city"]
        endpoint.save()
        assert "options have changed since" in told(boss)

    def test_a_payload_that_could_not_be_built_is_told_with_the_cause(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory(custom_data={"nested": {"too": "deep"}})
        page = told(boss)
        assert "payload could not be built" in page
        assert "customData" in page

    def test_a_deleted_members_delivery_stays_readable(self, boss: Client) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(OK)
        profile.delete()
        assert "deleted" in told(boss)

    def test_a_resend_that_was_not_drawn_yet_says_so(self, boss: Client) -> None:
        profile = UserProfileFactory()
        endpoint = ClientEndpointFactory()
        boss.post(url("clientendpoint_catch_up", endpoint.pk), {"whom": "never_sent"})
        assert Delivery.objects.get().profile == profile
        assert "when the delivery is first sent" in told(boss)

    def test_its_queries_do_not_grow_with_the_attempts(self, boss: Client, django_assert_num_queries: Any) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(500))
        first = Attempt.objects.get()
        told(boss)
        for more in (0, 10):
            for _ in range(more):
                first.pk, first.number = None, first.number + 1
                first.save()
            with django_assert_num_queries(10):
                told(boss)

    @pytest.mark.parametrize(
        ("endpoint", "health", "sentence"),
        [
            pytest.param({}, {}, "as soon as a worker is free; due:", id="it is due"),
            pytest.param({"is_active": False}, {}, "when the endpoint is resumed", id="the endpoint is off"),
            pytest.param(
                {}, {"needs_credentials": True}, "when the endpoint has its credentials again", id="it can't log in"
            ),
            pytest.param({}, {"rests_until": START + HOUR}, "when the endpoint has rested:", id="the endpoint rests"),
            pytest.param({}, {"rests_until": START - HOUR}, "as soon as a worker is free; due:", id="it has rested"),
        ],
    )
    def test_what_waits_tells_for_what(
        self, boss: Client, endpoint: dict[str, Any], health: dict[str, Any], sentence: str
    ) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory()
            ClientEndpoint.objects.update(**endpoint)
            EndpointHealth.objects.update(**health)
            assert told(boss).count(sentence) == 2
            assert sentence in boss.get(url("delivery_changelist")).content.decode()
            assert ("13:00" in told(boss) or "1 p.m." in told(boss)) == ("rested:" in sentence)

    def test_who_did_what_by_hand_stands_between_the_attempts(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(413))
        do(boss, "redeliver", Delivery.objects.get())
        deliver(OK)
        page = told(boss)
        first, action, second = (page.index(part) for part in ("Attempt 1:", "By hand: boss", "Attempt 2:"))
        assert first < action < second
        assert "Redeliver: the same event again ·" in page

    def test_nothing_is_added_changed_or_deleted(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        delivery = Delivery.objects.get()
        assert boss.get(url("delivery_add")).status_code == 403
        assert boss.post(url("delivery_change", delivery.pk), {}).status_code == 403
        assert boss.post(url("delivery_delete", delivery.pk), {"post": "yes"}).status_code == 403


class TestActions:
    @pytest.fixture
    def failed(self) -> Delivery:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(status(413))
        return Delivery.objects.get()

    def test_a_failed_delivery_is_sent_again_as_it_was(self, boss: Client, failed: Delivery) -> None:
        # What the button does is said on the page, not in a tooltip, which no finger finds.
        assert re.search("Redeliver: the same event again</strong> The same body is sent again", told(boss, failed))
        page = do(boss, "redeliver", failed).content.decode()
        assert "1 delivery is sent again." in page
        (request,) = deliver(OK)
        assert request.headers["webhook-id"] == str(failed.push.event_id)
        assert history_in_words(LogEntry.objects.get()).startswith("Redeliver")

    def test_a_state_older_than_the_accepted_one_is_left_out_with_a_sentence(
        self, boss: Client, failed: Delivery
    ) -> None:
        assert failed.profile is not None
        failed.profile.save()
        deliver(OK)
        assert "a newer state was accepted; use resend" in do(boss, "redeliver", failed).content.decode()
        assert Delivery.objects.get(pk=failed.pk).status == "failed"
        # What was left out was not done, and the history does not say so.
        assert not LogEntry.objects.exists()

    def test_the_current_state_is_sent_to_that_endpoint_alone(self, boss: Client, failed: Delivery) -> None:
        ClientEndpointFactory()
        do(boss, "resend", failed)
        recorded = Delivery.objects.latest("pk")
        assert (recorded.endpoint, recorded.push.trigger) == (failed.endpoint, "resend")
        assert Delivery.objects.count() == 2

    @pytest.mark.parametrize("action", ["cancel", "erase_content"])
    def test_what_can_not_be_undone_is_asked_first(self, boss: Client, action: str) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        if action == "erase_content":
            deliver(OK)
        delivery = Delivery.objects.get()
        assert do(boss, action, delivery).status_code == 200
        assert (Delivery.objects.get().status, Push.objects.get().payload is None) == (delivery.status, False)
        do(boss, action, delivery, confirmed="1")
        assert (Delivery.objects.get().status, Push.objects.get().payload is None) in (
            ("cancelled", False),
            ("succeeded", True),
        )

    def test_many_are_confirmed_on_a_page_that_says_how_many_and_why_not_the_others(self, boss: Client) -> None:
        ClientEndpointFactory(name="acme")
        UserProfileFactory.create_batch(3)
        deliver(status(413), OK)
        EndpointHealth.objects.update(rests_until=db_now("default") + HOUR)
        ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
        chosen = {"action": "redeliver", "_selected_action": ids}
        page = boss.post(url("delivery_changelist"), chosen)
        assert "Redeliver 1 delivery" in page.content.decode()
        recorded = Delivery.objects.get(status="failed").created_at.isoformat()
        assert page.content.decode().count(f'datetime="{recorded}"') == 2
        assert "2: it is succeeded" in page.content.decode()
        assert '<h1 class="lp-title">Redeliver 1 delivery</h1>' in page.content.decode()
        assert re.search(
            r'<th scope="row">acme</th><td>1</td><td><span class="lp-badge lp-warn">', page.content.decode()
        )
        assert not Delivery.objects.filter(status="pending").exists()
        bulk = {"action": "redeliver", "chosen": page.context["chosen"], "query": "status__exact=failed"}
        response = boss.post(url("delivery_bulk"), bulk)
        assert response.url == url("delivery_changelist") + "?status__exact=failed"  # type: ignore[attr-defined]
        assert Delivery.objects.filter(status="pending").count() == 1

    def test_a_double_click_on_a_confirmation_does_the_action_once(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory()
        deliver(OK)
        chosen = {"action": "resend", "_selected_action": [str(Delivery.objects.get().pk)]}
        for pages in (1, 2):
            page = boss.post(url("delivery_changelist"), chosen)
            token = re.findall(r'name="idempotency_key" value="(.+?)"', page.content.decode())
            bulk = {"action": "resend", "chosen": page.context["chosen"], "idempotency_key": token}
            answers = [boss.post(url("delivery_bulk"), bulk, follow=True).content.decode() for _ in range(2)]
            assert ["but done only once" in answer for answer in answers] == [False, True]
            assert (Push.objects.filter(trigger="resend").count(), LogEntry.objects.count()) == (pages, pages)

    def test_a_double_click_on_a_deliverys_own_page_does_it_once_too(self, boss: Client, failed: Delivery) -> None:
        page = told(boss, failed)
        (token,) = re.findall(r'name="idempotency_key" value="([^"]+-resend)"', page)
        pages = [do(boss, "resend", failed, idempotency_key=token).content.decode() for _ in range(2)]
        assert ["but done only once" in page for page in pages] == [False, True]
        assert Push.objects.filter(trigger="resend").count() == 1

    def test_an_action_that_broke_may_be_confirmed_again(self, boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any, **__: Any) -> int:
            raise RuntimeError("the database went away")

        ClientEndpointFactory()
        UserProfileFactory()
        deliver(OK)
        bulk = {"action": "resend", "chosen": Delivery.objects.get().pk, "idempotency_key": "a key"}
        with monkeypatch.context() as patch:
            patch.setattr("live_push.api.push_profiles", broken)
            with pytest.raises(RuntimeError):
                boss.post(url("delivery_bulk"), bulk)
        boss.post(url("delivery_bulk"), bulk)
        assert Push.objects.filter(trigger="resend").count() == 1

    def test_a_member_chosen_twice_is_resent_once(self, boss: Client) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(OK)
        profile.save()
        ids = ",".join(str(pk) for pk in Delivery.objects.values_list("pk", flat=True))
        boss.post(url("delivery_bulk"), {"action": "resend", "chosen": ids})
        assert Push.objects.filter(trigger="resend").count() == 1

    def test_more_than_a_page_can_do_is_left_to_the_command_line(
        self, boss: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "ROWS_LISTED", 1)
        ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
        data = {"action": "cancel", "_selected_action": ids}
        assert "use the command line" in boss.post(url("delivery_changelist"), data, follow=True).content.decode()

    @pytest.mark.parametrize("action", ["redeliver", "resend", "cancel", "erase_content", "nonsense"])
    def test_who_may_only_look_does_nothing(self, staff: Staff, failed: Delivery, action: str) -> None:
        client = staff("view_delivery", "view_delivery_content")
        assert do(client, action, failed).status_code == 403
        assert client.post(url("delivery_bulk"), {"action": action, "chosen": failed.pk}).status_code == 403
        page = client.post(url("delivery_changelist"), {"action": action, "_selected_action": [failed.pk]}, follow=True)
        assert Delivery.objects.get().status == "failed", page
        assert LogEntry.objects.count() == 0

    def test_an_action_is_never_done_by_following_a_link(self, boss: Client, failed: Delivery) -> None:
        assert boss.get(url("delivery_action", failed.pk), {"action": "redeliver"}).status_code == 405
        assert boss.get(url("delivery_bulk"), {"action": "redeliver", "chosen": failed.pk}).status_code == 405

    def test_an_action_from_another_site_is_refused(self, failed: Delivery, boss: Client) -> None:
        careful = Client(enforce_csrf_checks=True)
        careful.cookies = boss.cookies
        assert careful.post(url("delivery_action", failed.pk), {"action": "redeliver"}).status_code == 403
        assert Delivery.objects.get().status == "failed"
