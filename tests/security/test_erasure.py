"""A deleted member leaves the delivery log in the same transaction, whatever is under way, and it can be proved."""

from __future__ import annotations

import json
import re
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test import override_settings

from live_push.engines.run import run_once
from live_push.models import Attempt, Confirmation, Delivery, Push, UserProfile
from live_push.outbox import erase, erasure_report
from live_push.outbox import settle as settling
from live_push.rules.result import Result
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import OK, ScriptedTransport, deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

PERSONAL = ("Zephyrine", "zephyrine@example.com", "T-Zephyrine")


def a_member_with_a_history() -> UserProfile:
    """Pushed, captured, refused, echoed and waiting."""
    ClientEndpointFactory(capturing=True, name="captures")
    ClientEndpointFactory(name="echoes")
    profile = UserProfileFactory(first_name=PERSONAL[0], email_address=PERSONAL[1])
    captured = status(200, b'{"third_party_id": "T-Zephyrine"}')
    deliver(captured, status(200, b"Welcome, Zephyrine!"))
    profile.save()
    deliver(status(500, b"No, Zephyrine!"))
    profile.save()
    return profile


def everything_in_the_log() -> str:
    rows = [list(model.objects.values()) for model in (Push, Delivery, Attempt, Confirmation)]
    return repr(rows)


def run(*arguments: str) -> tuple[int, Any]:
    out = StringIO()
    code = 0
    try:
        call_command("live_push_erasure", "--json", *arguments, stdout=out, stderr=StringIO())
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


NOTHING = {"bodies": 0, "answers": 0, "unsent": 0, "confirmations": 0}


def test_nothing_personal_is_left_of_a_deleted_member() -> None:
    profile = a_member_with_a_history()
    before = everything_in_the_log()
    assert all(word in before for word in PERSONAL)
    profile.delete()
    after = everything_in_the_log()
    assert [word for word in PERSONAL if word in after] == []
    assert not Confirmation.objects.exists()


def test_that_something_was_sent_and_how_it_ended_stays() -> None:
    profile = a_member_with_a_history()
    attempts = Attempt.objects.count()
    profile.delete()
    assert Attempt.objects.count() == attempts > 2
    assert set(Delivery.objects.values_list("status", "reason")) <= {
        ("succeeded", ""),
        ("cancelled", "superseded"),
        ("cancelled", "erased"),
    }


def test_what_waited_is_never_sent() -> None:
    a_member_with_a_history().delete()
    assert deliver(OK) == []


def test_other_members_keep_theirs() -> None:
    profile = a_member_with_a_history()
    other = UserProfileFactory()
    profile.delete()
    assert [push.profile_id for push in Push.objects.exclude(payload=None)] == [other.pk]


def test_members_deleted_in_bulk_leave_nothing_either() -> None:
    a_member_with_a_history()
    UserProfile.objects.all().delete()
    assert not erasure_report.remaining_data(using="default")


def test_a_deletion_that_is_rolled_back_erases_nothing() -> None:
    profile = a_member_with_a_history()
    before = everything_in_the_log()
    with pytest.raises(RuntimeError), transaction.atomic():
        profile.delete()
        raise RuntimeError("changed my mind")
    assert everything_in_the_log() == before


def test_a_verdict_that_comes_after_the_deletion_writes_nothing_back() -> None:
    ClientEndpointFactory(capturing=True)
    profile = UserProfileFactory(first_name=PERSONAL[0])

    def accept(request: object) -> Result:
        UserProfile.objects.get(pk=profile.pk).delete()
        return Result(200, body=b'{"third_party_id": "T-Zephyrine"}', body_complete=True)

    deliver(accept)
    assert Delivery.objects.get().status == "cancelled"
    assert not Attempt.objects.exists()
    assert not erasure_report.remaining_data(using="default")


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite never has two writers at once.")
def test_a_verdict_that_is_being_written_during_the_deletion_is_erased_with_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ClientEndpointFactory()
    profile = UserProfileFactory(first_name=PERSONAL[0])
    at_the_delivery = threading.Event()
    deleting = threading.Thread(target=_delete, args=[profile.pk, at_the_delivery])
    write = settling._write

    def write_while_the_member_is_deleted(*given: Any, **named: Any) -> None:
        # The verdict holds the delivery's row: the deletion comes as far as that.
        deleting.start()
        assert at_the_delivery.wait(30)
        write(*given, **named)

    monkeypatch.setattr(settling, "_write", write_while_the_member_is_deleted)
    transport = ScriptedTransport(status(200, b"Welcome, Zephyrine!"))
    run_once("default", threads=1, transport=transport, random=lambda: 0.0)
    deleting.join()
    assert not UserProfile.objects.exists()
    assert Attempt.objects.get().status_code == 200
    assert "Zephyrine" not in everything_in_the_log()


def _delete(profile_id: int, at_the_delivery: threading.Event) -> None:
    """Delete a member in a thread of its own; says when it is about to ask for the lock of a delivery."""

    def tell(execute: Any, sql: str, *rest: Any) -> Any:
        if re.match(r"UPDATE .live_push_delivery|SELECT .* FROM .live_push_delivery. .* FOR (NO KEY )?UPDATE", sql):
            at_the_delivery.set()
        return execute(sql, *rest)

    try:
        with connection.execute_wrapper(tell):
            UserProfile.objects.get(pk=profile_id).delete()
    finally:
        connections.close_all()


class TestWhoWasSentIt:
    """What clients received is beyond our reach: somebody may have to tell them."""

    def test_is_known_of_a_member_and_of_a_deleted_one(self) -> None:
        profile = a_member_with_a_history()
        other = UserProfileFactory()
        ClientEndpointFactory(name="never sent to")
        pk = profile.pk
        assert erasure_report.recipients(pk, using="default") == ["captures", "echoes"]
        profile.delete()
        assert erasure_report.recipients(pk, using="default") == ["captures", "echoes"]
        assert erasure_report.recipients(other.pk, using="default") == []

    def test_is_known_of_each_of_many_who_are_deleted_at_once(self) -> None:
        ClientEndpointFactory(name="first")
        one, other = UserProfileFactory.create_batch(2)
        deliver(OK, OK)
        ClientEndpointFactory(name="second")
        other.save()
        deliver(OK, OK)
        ids = [one.pk, other.pk]
        erase.erase(ids, using="default")
        Push.objects.update(profile=None)
        Delivery.objects.update(profile=None)
        assert [erasure_report.recipients(pk, using="default") for pk in ids] == [["first"], ["first", "second"]]

    def test_is_known_of_what_was_under_way(self) -> None:
        ClientEndpointFactory(name="slow")
        pk = UserProfileFactory().pk

        def accept(request: object) -> Result:
            UserProfile.objects.get(pk=pk).delete()
            return OK

        deliver(accept)
        assert erasure_report.recipients(pk, using="default") == ["slow"]

    def test_can_not_be_read_out_of_the_database_without_the_key(self) -> None:
        keys = {"SECRET_KEYS": ["a key of this year"]}
        with override_settings(LIVE_PUSH=keys):
            profile = a_member_with_a_history()
            pk = profile.pk
            profile.delete()
        subjects = set(Push.objects.values_list("subject", flat=True))
        assert len(subjects) == 1
        assert re.fullmatch("[0-9a-f]{64}", subjects.pop() or "")
        assert erasure_report.recipients(pk, using="default") == []
        with override_settings(LIVE_PUSH={"SECRET_KEYS": ["a newer key of ours", *keys["SECRET_KEYS"]]}):
            assert erasure_report.recipients(pk, using="default") == ["captures", "echoes"]

    def test_is_not_known_of_members_who_stay(self) -> None:
        a_member_with_a_history()
        assert set(Push.objects.values_list("subject", flat=True)) == {None}


class TestTheCommand:
    def test_it_proves_that_nothing_is_left(self) -> None:
        a_member_with_a_history().delete()
        assert run("--check") == (0, {"profile": None, "exists": False, **NOTHING})

    def test_it_proves_it_for_one_member(self) -> None:
        profile = a_member_with_a_history()
        pk = profile.pk
        code, found = run("--profile", str(pk))
        assert (code, found["exists"], found["bodies"] > 0) == (1, True, True)
        profile.delete()
        told = {"profile": pk, "exists": False, **NOTHING, "sent_to": ["captures", "echoes"]}
        assert run("--profile", str(pk)) == (0, told)
        assert run("--profile", str(pk + 1))[1]["sent_to"] == []

    @pytest.mark.parametrize(
        ("spoil", "found"),
        [
            pytest.param(lambda: Push.objects.update(payload=b"{}"), "bodies", id="a-body"),
            pytest.param(lambda: Push.objects.update(digest="0" * 64), "bodies", id="a-body-s-digest"),
            pytest.param(lambda: Attempt.objects.update(answer=b"Zephyrine"), "answers", id="an-answer"),
            pytest.param(lambda: Attempt.objects.update(captured_id="T-1"), "answers", id="a-captured-id"),
            pytest.param(lambda: Attempt.objects.update(replaced_id="T-0"), "answers", id="a-replaced-id"),
            pytest.param(lambda: Attempt.objects.update(detail="…"), "answers", id="a-detail"),
            pytest.param(
                lambda: Delivery.objects.filter(endpoint__name="echoes").update(status="sending"),
                "unsent",
                id="a-delivery-under-way",
            ),
        ],
    )
    def test_it_finds_whatever_is_left_and_erases_it_on_demand(self, spoil: Any, found: str) -> None:
        a_member_with_a_history().delete()
        spoil()
        code, left = run("--check")
        assert (code, left[found] > 0) == (1, True)
        assert run("--erase") == (0, {"profile": None, "exists": False, **NOTHING})

    def test_it_finds_a_confirmation_that_outlived_its_member(self) -> None:
        endpoint = ClientEndpointFactory()
        profile = UserProfileFactory()
        deliver(OK)
        profile.delete()
        Confirmation.objects.bulk_create(
            [Confirmation(endpoint=endpoint, profile_id=10**9, sequence=1, confirmed_at="2026-03-01T12:00Z", digest="")]
        )
        assert run("--check")[1]["confirmations"] == 1
        assert run("--erase")[0] == 0

    def test_it_says_in_words_what_it_found(self) -> None:
        out, err = StringIO(), StringIO()
        call_command("live_push_erasure", "--check", stdout=out, stderr=err)
        assert "No data of deleted members is left" in out.getvalue()
        a_member_with_a_history().delete()
        Push.objects.update(payload=b"{}")
        with pytest.raises(SystemExit):
            call_command("live_push_erasure", "--check", stdout=out, stderr=err)
        assert "bodies" in out.getvalue()
        assert "--erase" in err.getvalue()

    def test_it_says_in_words_who_was_sent_it(self) -> None:
        profile = a_member_with_a_history()
        pk = profile.pk
        profile.delete()
        out = StringIO()
        call_command("live_push_erasure", "--profile", str(pk), stdout=out)
        assert "was sent to captures, echoes. Ask these clients" in out.getvalue()

    def test_it_says_in_words_that_a_member_is_not_deleted_yet(self) -> None:
        profile = UserProfileFactory()
        err = StringIO()
        with pytest.raises(SystemExit):
            call_command("live_push_erasure", "--profile", str(profile.pk), stdout=StringIO(), stderr=err)
        assert f"Profile {profile.pk} exists. Delete it" in err.getvalue()

    def test_quietly_means_quietly(self) -> None:
        out = StringIO()
        call_command("live_push_erasure", "--check", stdout=out, verbosity=0)
        assert out.getvalue() == ""

    @pytest.mark.parametrize("arguments", [[], ["--check", "--profile", "1"]])
    def test_a_wrong_call_is_told(self, arguments: list[str]) -> None:
        with pytest.raises(CommandError):
            call_command("live_push_erasure", *arguments)


@override_settings(LIVE_PUSH={"ENCRYPT_PAYLOADS": True})
def test_erasure_reaches_what_is_encrypted_too() -> None:
    a_member_with_a_history().delete()
    assert not erasure_report.remaining_data(using="default")
