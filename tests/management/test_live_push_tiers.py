"""``live_push_tiers`` as an operator meets it."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, reset_queries

from live_push.models import Push, Tier, TierEvent, TierMembership, UserProfile
from live_push.tiers import clock, service
from tests.tiers.builders import utc

pytestmark = pytest.mark.django_db


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def run(*words: str, terminal: bool = False) -> tuple[str, str]:
    out, err = (Terminal() if terminal else StringIO()), StringIO()
    call_command("live_push_tiers", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def two(make_program, at) -> list[UserProfile]:
    """Two members of a yearly program, the second of them in Tier 2."""
    make_program()
    with at(2026, 1, 10):
        profiles = [UserProfile.objects.create() for _ in range(2)]
        service.award_points(profiles[1], 1200)
    return profiles


@pytest.fixture
def edited(two) -> list[UserProfile]:
    """After an edit that lets the second member reach Tier 3."""
    Tier.objects.filter(title="Tier 2").update(max_value=1199)
    Tier.objects.filter(title="Tier 3").update(min_value=1200)
    return two


def test_it_applies_what_is_due_and_says_what_it_did(two, endpoint, at):
    with at(2027, 2, 1):
        out, _ = run()
    assert out == "2 members looked at, 2 changed: 2 maintain.\n"
    assert Push.objects.filter(trigger="tier").count() == 2


def test_a_second_run_finds_nothing(two, at):
    with at(2027, 2, 1):
        run()
        out, _ = run()
    assert out == "0 members looked at, 0 changed.\n"


def test_a_dry_run_lists_every_change_and_writes_nothing(two, at):
    first, second = (profile.pk for profile in two)
    with at(2028, 2, 1):
        out, _ = run("--dry-run")
    assert out.splitlines() == [
        f"2027-01-01T00:00:00+00:00  profile {first}: maintain, Tier 1",
        f"2028-01-01T00:00:00+00:00  profile {first}: maintain, Tier 1",
        f"2027-01-01T00:00:00+00:00  profile {second}: maintain, Tier 2",
        f"2028-01-01T00:00:00+00:00  profile {second}: drop, Tier 2 → Tier 1",
        "2 members looked at, 2 would change (dry run, nothing written): 1 drop, 3 maintain.",
    ]
    assert not TierEvent.objects.filter(cause="clock").exists()


def test_a_rehearsal_of_another_moment_needs_no_answer(two, at):
    with at(2026, 6, 1):
        out, _ = run("--dry-run", "--now", "2027-01-01T00:00Z")
    assert "2 would change" in out


def test_an_earlier_moment_applies_what_was_due_by_then(two, at):
    with at(2028, 6, 1):
        out, _ = run("--now", "2027-06-01")
    assert "2 maintain" in out
    assert set(TierMembership.objects.values_list("last_event_at", flat=True)) == {utc(2027, 1, 1)}


def test_a_future_moment_is_applied_only_with_yes(two, at):
    with at(2026, 6, 1):
        with pytest.raises(CommandError, match="--yes") as refusal:
            run("--now", "2027-01-01T00:00Z")
        assert refusal.value.returncode == 2
        assert not TierEvent.objects.filter(cause="clock").exists()
        out, _ = run("--now", "2027-01-01T00:00Z", "--yes")
    assert "2 changed" in out


def test_json_is_one_object_with_every_change_and_the_summary(two, at):
    with at(2028, 2, 1):
        told = json.loads(run("--json", "--dry-run", "--batch-size", "1")[0])
        done = json.loads(run("--json", "--batch-size", "1")[0])
        idle = json.loads(run("--json")[0])
    assert told["changes"] == done["changes"]
    assert told["changes"][-1] == {
        "profile": two[1].pk,
        "event": "drop",
        "due_at": "2028-01-01T00:00:00+00:00",
        "from": "Tier 2",
        "to": "Tier 1",
    }
    assert (told["dry_run"], done["dry_run"]) == (True, False)
    assert (done["looked_at"], done["changed"], done["events"]) == (2, 2, {"maintain": 3, "drop": 1})
    assert (idle["changes"], idle["changed"], idle["problems"]) == ([], 0, [])


def test_progress_is_plain_lines_where_there_is_no_terminal(two, at):
    with at(2027, 2, 1):
        _, err = run("--batch-size", "1")
    assert err.splitlines() == ["1 of 2 members", "2 of 2 members"]


def test_with_debug_on_it_does_not_keep_the_text_of_all_its_statements(two, endpoint, at, settings):
    settings.DEBUG = True
    reset_queries()
    with at(2027, 2, 1):
        run("--batch-size", "1")
    assert Push.objects.filter(trigger="tier").count() == 2
    assert not [query for query in connection.queries if "INSERT" in query["sql"]]
    reset_queries()


def test_progress_is_one_bar_in_one_line_on_a_terminal(two, at):
    err = Terminal()
    with at(2027, 2, 1):
        call_command("live_push_tiers", "--batch-size", "1", stdout=StringIO(), stderr=err, force_color=True)
    bar = err.getvalue()
    assert "100%" in bar
    # Each step goes over the one before it, in the terminal's own colour.
    assert (bar.count("\n"), bar.count("\x1b[")) == (1, 0)


def test_it_can_be_silent(two, at):
    with at(2027, 2, 1):
        assert run("--verbosity", "0") == ("", "")


def test_a_program_that_is_no_ladder_is_left_out_and_the_exit_code_says_so(two, at, capsys):
    Tier.objects.filter(title="Tier 1").update(max_value=5)
    err = StringIO()
    with at(2027, 2, 1), pytest.raises(SystemExit) as exit_code:
        call_command("live_push_tiers", stdout=StringIO(), stderr=err)
    assert exit_code.value.code == 1
    assert err.getvalue().count("Left out: Tier program 'Club': Between 'Tier 1'") == 1


@pytest.mark.parametrize("words", [[], ["--json"], ["--dry-run", "--json"]], ids=" ".join)
def test_interrupted_it_tells_what_is_done_and_the_next_run_goes_on(two, at, monkeypatch, words):
    apply, calls = clock._apply, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return apply(*args, **kwargs)

    monkeypatch.setattr(clock, "_apply", interrupted)
    out, err = StringIO(), StringIO()
    with at(2027, 2, 1), pytest.raises(SystemExit) as exit_code:
        call_command("live_push_tiers", "--batch-size", "1", *words, stdout=out, stderr=err)
    assert exit_code.value.code == 130
    if words:
        told = json.loads(out.getvalue())
        assert (len(told["changes"]), told["changed"], told["interrupted"]) == (1, 1, True)
    else:
        assert "Interrupted." in err.getvalue()
        assert out.getvalue() == "1 members looked at, 1 changed: 1 maintain.\n"
    with at(2027, 2, 1):
        assert f"{2 if '--dry-run' in words else 1} changed" in run()[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["--program", "Club"], "needs --reevaluate", id="a program to no end"),
        pytest.param(["--reevaluate"], "add --yes", id="nobody to ask"),
        pytest.param(["--reevaluate", "--json"], "add --yes", id="no question in the middle of JSON"),
        pytest.param(["--reevaluate", "--yes", "--program", "Clib"], "There are: Club", id="an unknown program"),
        pytest.param(["--now", "tomorrow"], "--now is 'tomorrow'", id="no moment"),
        pytest.param(["--batch-size", "0"], "above 0", id="batches of nobody"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_says_what_to_write_instead(two, words, sentence):
    with pytest.raises(CommandError, match=sentence) as refusal:
        run(*words)
    assert refusal.value.returncode == 2


def test_a_reevaluation_lists_first_and_then_changes_and_pushes(edited, endpoint, at):
    pk = edited[1].pk
    with at(2026, 6, 1):
        out, _ = run("--reevaluate", "--yes")
    assert out.splitlines() == [
        f"2026-06-01T00:00:00+00:00  profile {pk}: jump, Tier 2 → Tier 3",
        "2 members looked at, 1 would change (dry run, nothing written): 1 jump.",
        "2 members looked at, 1 changed: 1 jump.",
    ]
    assert list(Push.objects.filter(trigger="tier").values_list("profile", flat=True)) == [pk]


def test_a_reevaluation_can_be_limited_to_one_program(edited, make_program, at):
    make_program(name="Elite", is_default=False)
    with at(2026, 6, 1):
        assert "0 members looked at, 0 changed" in run("--reevaluate", "--yes", "--program", "Elite")[0]
        assert "2 members looked at, 1 changed" in run("--reevaluate", "--yes", "--program", "Club")[0]


def test_a_program_without_tiers_is_left_out_of_a_reevaluation_and_the_exit_code_says_so(edited, make_program, at):
    make_program(name="Elite", is_default=False, tiers=[])
    out, err = StringIO(), StringIO()
    with at(2026, 6, 1), pytest.raises(SystemExit) as exit_code:
        call_command("live_push_tiers", "--reevaluate", "--yes", stdout=out, stderr=err)
    assert exit_code.value.code == 1
    assert "Left out: Tier program 'Elite': A program needs at least one tier." in err.getvalue()
    assert "2 members looked at, 1 changed" in out.getvalue()


def test_a_rehearsed_reevaluation_changes_nobody(edited, at):
    with at(2026, 6, 1):
        out, _ = run("--reevaluate", "--dry-run")
    assert "1 would change" in out
    assert not TierEvent.objects.filter(cause="reevaluation").exists()


@pytest.mark.parametrize(("answer", "changed"), [("yes", 1), ("no", 0), ("", 0)])
def test_on_a_terminal_a_reevaluation_asks(edited, at, monkeypatch, answer, changed):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    with at(2026, 6, 1):
        if changed:
            run("--reevaluate", terminal=True)
        else:
            with pytest.raises(CommandError, match="Nothing was changed") as refusal:
                run("--reevaluate", terminal=True)
            assert refusal.value.returncode == 1
    assert asked == ["Change 1 members? Type yes: "]
    assert TierEvent.objects.filter(cause="reevaluation").count() == changed
