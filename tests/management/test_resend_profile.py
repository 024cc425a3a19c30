"""``manage.py resend_profile``."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from live_push.management.arguments import row_id
from live_push.models import Delivery, Push, UserProfile
from live_push.models.clock import stopped
from live_push.outbox import resend
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import START, command, deliver, statements

pytestmark = pytest.mark.django_db(transaction=True)


run = partial(command, "resend_profile")


def resent() -> list[int]:
    return list(Push.objects.filter(trigger="resend").order_by("profile").values_list("profile", flat=True))


class TestSelection:
    def test_by_ids(self) -> None:
        ClientEndpointFactory()
        one, two, _three = UserProfileFactory.create_batch(3)
        run(one.pk, two.pk)
        assert resent() == [one.pk, two.pk]

    def test_by_email(self) -> None:
        ClientEndpointFactory()
        profile, _other = UserProfileFactory.create_batch(2)
        run("--email", profile.email_address)
        assert resent() == [profile.pk]

    def test_by_third_party_id(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory(third_party_id="T-1")
        UserProfileFactory(third_party_id="t-1")
        run("--third-party-id", "T-1")
        assert resent() == [profile.pk]

    def test_of_all(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        run("--all", "--yes")
        assert len(resent()) == 3

    def test_since(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory()
        with stopped(START + timedelta(days=1)):
            later = UserProfileFactory()
        run("--since", "2026-03-02T00:00Z")
        assert resent() == [later.pk]

    def test_stale_to_exactly_the_endpoints_that_lack_it(self) -> None:
        ClientEndpointFactory(name="fine")
        profile = UserProfileFactory()
        deliver()
        ClientEndpointFactory(name="new")
        run("--stale")
        assert list(Delivery.objects.filter(status="pending").values_list("profile", "endpoint__name")) == [
            (profile.pk, "new")
        ]

    def test_stale_with_verify_finds_what_raw_sql_changed(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver()
        UserProfile._base_manager.update(city="raw")
        run("--stale")
        assert resent() == []
        run("--stale", "--verify")
        assert resent() == [profile.pk]

    def test_stale_twice_records_once(self) -> None:
        endpoint = ClientEndpointFactory(is_active=False)
        UserProfileFactory()
        type(endpoint)._base_manager.update(is_active=True)
        run("--stale")
        Delivery.objects.update(position=2**62)
        run("--stale")
        assert len(resent()) == 1

    @pytest.mark.parametrize("by", ["name", "id"])
    def test_to_one_endpoint(self, by: str) -> None:
        wanted = ClientEndpointFactory(name="crm")
        ClientEndpointFactory(name="other")
        profile = UserProfileFactory()
        Push.objects.all().delete()
        run(profile.pk, "--endpoint", "crm" if by == "name" else wanted.pk)
        assert list(Delivery.objects.values_list("endpoint", flat=True)) == [wanted.pk]


class TestOutcome:
    def test_of_an_unknown_member_is_told_after_doing_the_rest(self) -> None:
        ClientEndpointFactory()
        profile = UserProfileFactory()
        _out, err = run(profile.pk, 999_999, "--email", "nobody@example.com", code=1)
        assert resent() == [profile.pk]
        assert "999999" in err
        assert "nobody@example.com" in err

    def test_of_an_inactive_endpoint_is_told(self) -> None:
        ClientEndpointFactory(name="crm", is_active=False)
        profile = UserProfileFactory()
        _out, err = run(profile.pk, "--endpoint", "crm", code=1)
        assert "crm is not active" in err

    def test_without_any_endpoint_is_told(self) -> None:
        profile = UserProfileFactory()
        _out, err = run(profile.pk, code=1)
        assert "no active endpoint" in err

    def test_as_json_has_stable_keys(self) -> None:
        ClientEndpointFactory(name="crm")
        profile = UserProfileFactory()
        out, _err = run(profile.pk, "--json")
        assert json.loads(out) == {
            "dry_run": False,
            "endpoints": ["crm"],
            "profiles": 1,
            "deliveries": 1,
            "last_profile": profile.pk,
            "not_found": [],
            "inactive_endpoints": [],
            "outside_audience": [],
            "interrupted": False,
        }

    def test_of_a_dry_run_is_nothing(self) -> None:
        ClientEndpointFactory.create_batch(2)
        UserProfileFactory.create_batch(3)
        out, _err = run("--all", "--dry-run")
        assert "6 deliveries would be recorded (dry run, nothing sent)" in out
        assert resent() == []


class TestWrongCalls:
    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ((), "Nothing selected"),
            (("1", "--all"), "can't be combined"),
            (("--all",), "--yes"),
            (("1", "--verify"), "--stale"),
            (("1", "--rate", "0"), "0.001 or higher"),
            (("1", "--rate", "nan"), "0.001 or higher"),
            (("1", "--rate", "inf"), "0.001 or higher"),
            (("--since", "yesterday"), "2026-11-20"),
            (("--since", "0001-01-01T00:00+14:00"), "2026-11-20"),
            (("1", "--endpoint", "nobody"), "There is no endpoint 'nobody'"),
        ],
    )
    def test_say_what_to_do(self, arguments: tuple[str, ...], word: str) -> None:
        _out, sentence = run(*arguments, code=2)
        assert word in sentence

    @pytest.mark.parametrize("text", ["9" * 19, "-1", "one", ""])
    def test_text_that_is_not_an_id_is_refused_before_the_database_is_asked(self, text: str) -> None:
        with pytest.raises(ArgumentTypeError, match="not an id; write a whole number"):
            row_id(text)


class TestLongRuns:
    def test_go_on_after_a_profile(self) -> None:
        ClientEndpointFactory()
        first, second = UserProfileFactory.create_batch(2)
        run("--all", "--yes", "--after", first.pk)
        assert resent() == [second.pk]

    def test_spread_their_due_times(self) -> None:
        ClientEndpointFactory()
        with stopped(START):
            UserProfileFactory.create_batch(5)
            Push.objects.all().delete()
            run("--all", "--yes", "--rate", "2")
        due = Delivery.objects.order_by("next_attempt_at").values_list("next_attempt_at", flat=True)
        assert [(at - START).total_seconds() for at in due] == [0, 0, 1, 1, 2]

    def test_killed_and_resumed_they_equal_an_unbroken_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        endpoint = ClientEndpointFactory()
        UserProfileFactory.create_batch(7)
        monkeypatch.setattr(resend, "ROWS_PER_STATEMENT", 3)
        calls = []
        record = resend.record_selected

        def dying(*args: Any, **kwargs: Any) -> int:
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return record(*args, **kwargs)

        monkeypatch.setattr(resend, "record_selected", dying)
        out, err = run("--all", "--yes", code=130)
        assert out == f"3 profiles looked at, 3 deliveries recorded for {endpoint.name}.\n"
        (after,) = re.findall(r"Interrupted. To continue, run the same command again with (--after) (\d+)\.", err)
        run("--all", "--yes", *after)
        assert resent() == list(UserProfile.objects.order_by("pk").values_list("pk", flat=True))

    def test_killed_without_a_word_they_have_told_where_to_go_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ClientEndpointFactory()
        profiles = UserProfileFactory.create_batch(7)
        monkeypatch.setattr(resend, "ROWS_PER_STATEMENT", 3)
        _out, lines = run("--all", "--yes")
        assert lines.splitlines() == [f"{done} of 7 profiles (--after {profiles[done - 1].pk})" for done in (3, 6, 7)]
        _out, bar = run("--all", "--yes", terminal=True)
        assert f"--after {profiles[-1].pk}]" in bar

    def test_cost_a_constant_number_of_statements_for_each_chunk(self) -> None:
        ClientEndpointFactory.create_batch(5)
        UserProfileFactory.create_batch(40)
        assert len(statements(lambda: run("--all", "--yes"))) <= 10

    def test_show_a_bar_on_a_terminal_and_lines_elsewhere(self) -> None:
        ClientEndpointFactory()
        UserProfileFactory.create_batch(3)
        _out, lines = run("--all", "--yes")
        assert "3 of 3 profiles" in lines
        _out, bar = run("--all", "--yes", terminal=True)
        assert "100%" in bar
        _out, nothing = run("--all", "--yes", verbosity=0)
        assert nothing == ""


def test_all_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ClientEndpointFactory()
    UserProfileFactory()
    monkeypatch.setattr("builtins.input", lambda question: "no")
    run("--all", terminal=True, code=1)
    assert resent() == []
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    run("--all", terminal=True)
    assert len(resent()) == 1
