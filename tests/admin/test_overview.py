"""The overview, and the banner that says when nobody delivers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from live_push.figures import stored_convergence
from live_push.figures.stored_convergence import count_next_slice
from live_push.models import ClientEndpoint, EndpointHealth, EndpointHour, UserProfile, WorkerHeartbeat
from live_push.models.clock import stopped
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, START, deliver, status

from .conftest import Staff
from .pages import all_pages, url

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def heartbeat(at: datetime) -> None:
    WorkerHeartbeat.objects.create(name="worker-1", engine="worker", started_at=at, seen_at=at)


class TestOverview:
    def context(self, client: Client, **query: Any) -> Any:
        return client.get(url("overview"), query).context

    def test_a_sentence_answers_at_once(self, boss: Client) -> None:
        ClientEndpointFactory()
        ClientEndpointFactory(is_active=False)
        UserProfileFactory.create_batch(3)
        deliver(OK, OK, status(500))
        sentence = self.context(boss)["sentence"]
        assert sentence.startswith("0 of 2 endpoints are well. Accepted: 66.6 % of 3 attempts. 1 delivery waits.")

    def test_the_sentence_tells_what_has_waited_longest(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory()
        with stopped(START + 2 * MINUTE):
            UserProfileFactory()
            sentence = self.context(boss)["sentence"]
        assert sentence == "1 of 1 endpoint is well. 2 deliveries wait. Oldest due: noon UTC."

    def test_trouble_stands_on_top(self, boss: Client) -> None:
        for name in ("a-well", "b-failing", "c-disabled"):
            ClientEndpointFactory(name=name, is_active=name != "c-disabled")
        EndpointHealth.objects.filter(endpoint__name="b-failing").update(failing_since=START)
        context = self.context(boss)
        assert [row["endpoint"].name for row in context["rows"]] == ["c-disabled", "b-failing", "a-well"]
        assert [item.endpoint.name for item in context["trouble"]] == ["c-disabled", "b-failing"]

    def test_ids_of_other_members_need_attention_for_a_week(self, boss: Client) -> None:
        with stopped(START):
            ClientEndpointFactory(name="acme", capturing=True)
            UserProfileFactory.create_batch(3)
            deliver(status(200, b'{"third_party_id": "T-1"}'))
        with stopped(START + timedelta(days=6)):
            (item,) = self.context(boss)["trouble"]
            assert (str(item.badge.word), item.endpoint.name) == ("2 ID conflicts in 7 days", "acme")
            assert "Find out with the client to which member it belongs" in item.sentence
            assert self.context(boss, period="7d")["sentence"].startswith("1 of 1 endpoint is well. Accepted: 100.0 %")
        with stopped(START + timedelta(days=8)):
            assert self.context(boss)["trouble"] == []

    @pytest.mark.parametrize(
        ("answer", "days", "is_told"),
        [
            pytest.param(OK, 8, False, id="accepted, a day over its retention"),
            pytest.param(OK, 10, True, id="accepted, three days over it"),
            pytest.param(status(413), 10, False, id="failed, well within it"),
            pytest.param(status(413), 93, True, id="failed, three days over it"),
            pytest.param(status(500), 93, False, id="still waiting"),
        ],
    )
    def test_a_log_that_is_not_pruned_needs_attention(
        self, boss: Client, answer: Any, days: int, is_told: bool
    ) -> None:
        with stopped(START):
            ClientEndpointFactory()
            UserProfileFactory()
            deliver(answer)
            EndpointHealth.objects.update(failing_since=None)
        with stopped(START + timedelta(days=days)):
            assert ("manage.py live_push_prune" in boss.get(url("overview")).content.decode()) == is_told

    def test_its_table_is_sorted_by_each_heading_and_back(self, boss: Client) -> None:
        names = ["a", "b", "c"]
        for name in names:
            ClientEndpointFactory(name=name)
        for name, attempts in (("b", 1), ("c", 3)):
            endpoint = ClientEndpoint.objects.get(name=name)
            EndpointHour.objects.create(endpoint=endpoint, hour=START, within_ms=10 * attempts, attempts=attempts)
        EndpointHour.objects.create(endpoint=endpoint, hour=START, within_ms=10, error_code="timeout", attempts=1)

        def rows(sort: str) -> list[str]:
            return [row["endpoint"].name for row in self.context(boss, sort=sort)["rows"]]

        with stopped(START + MINUTE):
            assert (rows("name"), rows("-name")) == (names, names[::-1])
            # What is not known stands last, whichever way.
            assert (rows("accepted"), rows("-accepted")) == (["c", "b", "a"], ["b", "c", "a"])
            assert (rows("p99"), rows("-p99")) == (["b", "c", "a"], ["c", "b", "a"])
            for column in ("state", "p50", "waiting", "confirmed", "behind", "never_sent", "nonsense"):
                assert sorted(rows(column)) == names, column

    def test_its_headings_say_how_it_is_sorted_and_keep_the_period(self, boss: Client) -> None:
        ClientEndpointFactory()
        page = boss.get(url("overview"), {"period": "7d", "sort": "p99"}).content.decode()
        assert '<th scope="col" aria-sort="ascending"><a href="?period=7d&amp;sort=-p99">p99</a></th>' in page
        assert '<th scope="col"><a href="?period=7d&amp;sort=p50">p50</a></th>' in page
        assert page.count("aria-sort") == 1
        assert 'href="?period=24h&amp;sort=p99"' in page

    def test_latency_is_told_as_an_upper_bound_of_accepted_attempts(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        deliver(status(200, duration_ms=15), status(200, duration_ms=900), status(500, duration_ms=9000))
        (row,) = self.context(boss)["rows"]
        assert (row["p50"], row["p99"]) == ("≤ 20 ms", "≤ 1000 ms")

    def test_updates_that_held_nothing_new_are_no_attempts(self, boss: Client) -> None:
        ClientEndpointFactory(only_changes=True)
        profile = UserProfileFactory()
        deliver()
        for _ in range(3):
            profile.save()
        deliver()
        (row,) = self.context(boss)["rows"]
        assert (row["left_out"], row["percent"], row["p50"]) == (3, 100.0, "≤ 10 ms")
        assert "3 updates held nothing new" in boss.get(url("overview")).content.decode()

    def test_causes_are_counted_and_explained(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        deliver(status(404), status(500), status(500))
        causes = self.context(boss)["causes"]
        assert [(cause["code"], cause["count"]) for cause in causes] == [("server_error", 2), ("client_error", 1)]
        assert "Ask the client to check its logs" in causes[0]["explanation"]

    def test_a_day_and_a_week_are_told_apart(self, boss: Client) -> None:
        endpoint = ClientEndpointFactory()
        for hours in (0, 30, 24 * 8):
            EndpointHour.objects.create(endpoint=endpoint, hour=START - hours * HOUR, within_ms=10, attempts=1)
        with stopped(START + MINUTE):
            day, week = self.context(boss), self.context(boss, period="7d")
        assert [sum(hour.share.attempts for hour in context["hours"]) for context in (day, week)] == [1, 2]
        assert len(day["hours"]) == 25
        assert len(week["hours"]) == 169

    def test_one_endpoint_can_be_looked_at_alone(self, boss: Client) -> None:
        quiet, loud = ClientEndpointFactory(name="quiet"), ClientEndpointFactory(name="loud")
        for endpoint, error_code, attempts in ((quiet, "", 1), (loud, "timeout", 7)):
            EndpointHour.objects.create(
                endpoint=endpoint, hour=START, within_ms=10, error_code=error_code, attempts=attempts
            )
        with stopped(START + MINUTE):
            alone = self.context(boss, endpoint=quiet.pk)
            both = self.context(boss, endpoint="nonsense")
        assert [row["endpoint"].name for row in alone["rows"]] == ["quiet"]
        assert (alone["causes"], sum(hour.share.attempts for hour in alone["hours"])) == ([], 1)
        assert alone["sentence"].startswith("1 of 1 endpoint is well. Accepted: 100.0 % of 1 attempt.")
        assert sum(hour.share.attempts for hour in both["hours"]) == 8

    def test_the_picture_has_the_same_numbers_as_the_table(self, boss: Client) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(2)
        deliver(OK, status(500))
        page = boss.get(url("overview")).content.decode()
        assert 'role="img" aria-label="Throughput: attempts by hour, at most 2' in page
        assert "The highest column is 2 attempts." in page
        assert "<td>1</td><td>1</td>" in page

    def test_workers_that_were_seen_are_named(self, boss: Client) -> None:
        with stopped(START):
            heartbeat(START - 2 * MINUTE)
            assert "None was seen" in boss.get(url("overview")).content.decode()
            WorkerHeartbeat.objects.update(seen_at=START - MINUTE / 2)
            assert "worker-1" in boss.get(url("overview")).content.decode()

    def test_without_anything_it_is_empty_and_whole(self, boss: Client) -> None:
        page = boss.get(url("overview")).content.decode()
        assert "0 of 0 endpoints are well." in page
        assert "There is no endpoint yet." in page

    def test_it_needs_the_permission_to_see_endpoints(self, staff: Staff) -> None:
        assert staff("view_delivery").get(url("overview")).status_code == 403
        assert staff("view_clientendpoint").get(url("overview")).status_code == 200

    def test_it_says_when_a_worker_has_counted_the_members(self, boss: Client, monkeypatch: Any) -> None:
        monkeypatch.setattr(stored_convergence, "FEW_PROFILES", 0)
        endpoint = ClientEndpointFactory()
        UserProfileFactory()

        def counted() -> tuple[Any, Any]:
            (row,) = self.context(boss)["rows"]
            return row["convergence"] and row["convergence"].never_sent, row["counted"]

        with stopped(START):
            assert counted() == (None, "Not counted yet. A running worker does that within minutes.")
            assert "Not counted yet." in boss.get(url("overview")).content.decode()
            assert count_next_slice(using="default").counted
            assert counted() == (1, "")
        with stopped(START + 3 * MINUTE):
            assert counted() == (1, "Counted 3\xa0minutes ago.")
            for page in ("overview", "clientendpoint_changelist"):
                assert "Counted 3\xa0minutes ago." in boss.get(url(page)).content.decode(), page
            assert "Counted 3\xa0minutes ago." in boss.get(url("clientendpoint_change", endpoint.pk)).content.decode()
            endpoint.save()
            assert counted() == (1, "Counted before the endpoint was changed.")

    def test_its_queries_do_not_grow_with_the_endpoints(self, boss: Client, django_assert_max_num_queries: Any) -> None:
        ClientEndpointFactory.create_batch(30)
        with django_assert_max_num_queries(19):
            boss.get(url("overview"))


class TestBanner:
    SENTENCE = "No worker is running."

    def shows(self, client: Client, address: str) -> bool:
        return self.SENTENCE in client.get(address).content.decode()

    def test_it_stands_on_every_page_of_the_app(self, boss: Client, world: None) -> None:
        with stopped(START):
            ClientEndpointFactory(name="waiting")
            UserProfileFactory()
        with stopped(START + HOUR):
            for name, address in all_pages().items():
                assert self.shows(boss, address), name
            chosen = {"action": "delete_selected", "_selected_action": [UserProfile.objects.earliest("pk").pk]}
            asked = boss.post(url("userprofile_changelist"), chosen).content.decode()
            assert "Are you sure" in asked
            assert self.SENTENCE in asked

    @pytest.mark.parametrize(
        ("after", "seen", "endpoint", "health"),
        [
            pytest.param(MINUTE / 4, None, {}, {}, id="what is due was due just now"),
            pytest.param(HOUR, HOUR - MINUTE / 2, {}, {}, id="a worker was seen"),
            pytest.param(HOUR, None, {"is_active": False}, {}, id="the endpoint is off"),
            pytest.param(HOUR, None, {}, {"rests_until": START + 2 * HOUR}, id="the endpoint rests"),
            pytest.param(HOUR, None, {}, {"needs_credentials": True}, id="the endpoint can't log in"),
        ],
    )
    def test_it_is_silent_where_nobody_is_missing(
        self, boss: Client, after: timedelta, seen: timedelta | None, endpoint: dict[str, Any], health: dict[str, Any]
    ) -> None:
        with stopped(START):
            row = ClientEndpointFactory()
            UserProfileFactory()
            ClientEndpoint.objects.update(**endpoint)
            EndpointHealth.objects.filter(endpoint=row).update(**health)
        if seen is not None:
            heartbeat(START + seen)
        with stopped(START + after):
            assert not self.shows(boss, url("delivery_changelist"))
