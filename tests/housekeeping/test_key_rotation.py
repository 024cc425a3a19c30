"""A new key takes over: everything is brought under it, and only then may the old one go."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from live_push.exceptions import SecretUnreadable
from live_push.housekeeping import key_rotation, signing_secrets
from live_push.models import Attempt, ClientEndpoint, Push
from live_push.secrets.keyring import UnreadableBytes
from tests.factories import ClientEndpointFactory, UserProfileFactory
from tests.support import deliver, status

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = "the key of last year, long enough", "the key of this year, long enough"


def keys(*texts: str, encrypt: bool = True) -> Any:
    return override_settings(LIVE_PUSH={"SECRET_KEYS": list(texts), "ENCRYPT_PAYLOADS": encrypt})


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The command's exit code, and its counts where there is something to count."""
    out = StringIO()
    code = 0
    try:
        call_command("live_push_rotate_keys", "--json", *arguments, stdout=out, stderr=StringIO())
    except SystemExit as end:
        code = int(str(end.code))
    columns = json.loads(out.getvalue())["columns"]
    return code, {name: counts for name, counts in columns.items() if any(counts.values())}


def counts(current: int = 0, older: int = 0, unreadable: int = 0) -> dict[str, int]:
    return {"current": current, "older": older, "unreadable": unreadable}


@pytest.fixture
def endpoint() -> ClientEndpoint:
    """One with every kind of secret, a payload and an answer, all under the old key."""
    with keys(OLD):
        endpoint = ClientEndpointFactory(basic=True)
        signing_secrets.rotate(endpoint)
        signing_secrets.rotate(endpoint)
        UserProfileFactory()
        deliver(status(500, b"sorry"))
    return endpoint


EVERYTHING = (
    "clientendpoint.password",
    "clientendpoint.previous_signing_secret",
    "clientendpoint.signing_secret",
    "push.payload",
    "attempt.answer",
)


def test_everything_is_brought_under_the_newest_key_and_the_old_one_may_go(endpoint: ClientEndpoint) -> None:
    with keys(NEW, OLD):
        assert run() == (0, dict.fromkeys(EVERYTHING, counts(older=1)))
    with keys(NEW):
        endpoint = ClientEndpoint.objects.get()
        assert endpoint.reveal("password") == "password123"
        assert endpoint.credentials_problem() == ""
        assert (b'"firstName"' in Push.objects.get().payload, Attempt.objects.get().answer) == (True, b"sorry")


def test_every_encrypted_column_has_its_turn() -> None:
    assert {str(column) for column in key_rotation.encrypted_columns()} == {*EVERYTHING, "clientendpoint.api_key"}


def test_what_is_under_it_already_is_left_alone(endpoint: ClientEndpoint) -> None:
    with keys(NEW, OLD):
        run()
        before = list(
            key_rotation.stored_values(key_rotation.encrypted_columns()[0], using="default").values_list("stored")
        )
        assert run() == (0, dict.fromkeys(EVERYTHING, counts(current=1)))
        assert before == list(
            key_rotation.stored_values(key_rotation.encrypted_columns()[0], using="default").values_list("stored")
        )


@pytest.mark.parametrize(("option", "code"), [("--check", 1), ("--dry-run", 0)])
def test_a_look_changes_nothing_and_a_check_complains(endpoint: ClientEndpoint, option: str, code: int) -> None:
    with keys(NEW, OLD):
        assert run(option) == (code, dict.fromkeys(EVERYTHING, counts(older=1)))
        assert run(option) == (code, dict.fromkeys(EVERYTHING, counts(older=1)))


def test_a_check_is_content_once_all_is_done(endpoint: ClientEndpoint) -> None:
    with keys(NEW, OLD):
        run()
        assert run("--check")[0] == 0


def test_what_no_key_reads_is_counted_and_left_as_it_is(endpoint: ClientEndpoint) -> None:
    with keys(NEW):
        assert run() == (1, dict.fromkeys(EVERYTHING, counts(unreadable=1)))
        with pytest.raises(SecretUnreadable):
            ClientEndpoint.objects.get().reveal("password")
        assert isinstance(Push.objects.get().payload, UnreadableBytes)
    with keys(OLD):
        assert ClientEndpoint.objects.get().reveal("password") == "password123"


def test_payloads_written_before_encryption_was_switched_on_are_encrypted() -> None:
    ClientEndpointFactory()
    with keys(OLD, encrypt=False):
        UserProfileFactory()
        assert run("--check") == (0, {"push.payload": counts(current=1)})
    with keys(OLD):
        assert run("--check") == (1, {"push.payload": counts(older=1)})
        run()
        assert run("--check") == (0, {"push.payload": counts(current=1)})


def test_payloads_stay_encrypted_after_encryption_was_switched_off(endpoint: ClientEndpoint) -> None:
    with keys(NEW, OLD, encrypt=False):
        assert run() == (0, dict.fromkeys(EVERYTHING, counts(older=1)))
    (payload,) = (column for column in key_rotation.encrypted_columns() if str(column) == "push.payload")
    stored = key_rotation.stored_values(payload, using="default").get().stored
    assert b"firstName" not in bytes(stored)
    with keys(NEW, encrypt=False):
        assert b'"firstName"' in Push.objects.get().payload


def test_a_run_that_was_killed_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with keys(OLD):
        ClientEndpointFactory()
        UserProfileFactory.create_batch(7)
    monkeypatch.setattr(key_rotation, "VALUES_PER_TRANSACTION", 2)
    whole = key_rotation._rotate_batch
    turns = iter([whole, whole, killed])
    with keys(NEW, OLD):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(key_rotation, "_rotate_batch", lambda *given, **named: next(turns)(*given, **named))
            run()
        assert run() == (0, {"push.payload": counts(current=4, older=3)})
    with keys(NEW):
        assert run("--check") == (0, {"push.payload": counts(current=7)})


def killed(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_what_is_written_meanwhile_is_not_overwritten(
    endpoint: ClientEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = ClientEndpoint._meta.get_field("password")
    rotated: Callable[[str], str] = field.rotated

    def slow(stored: str) -> str:
        other = ClientEndpoint.objects.get()
        other.password = "typed meanwhile"
        other.save()
        return rotated(stored)

    monkeypatch.setattr(field, "rotated", slow)
    with keys(NEW, OLD):
        run()
    with keys(NEW):
        assert ClientEndpoint.objects.get().reveal("password") == "typed meanwhile"


def test_it_says_in_words_what_it_did(endpoint: ClientEndpoint) -> None:
    out, err = StringIO(), StringIO()
    with keys(NEW, OLD):
        call_command("live_push_rotate_keys", stdout=out, stderr=err)
    assert "clientendpoint.password: 1 were encrypted with the newest key." in out.getvalue()
    assert "5 of 5 values" in err.getvalue()


def test_quietly_means_quietly(endpoint: ClientEndpoint) -> None:
    out, err = StringIO(), StringIO()
    with keys(NEW, OLD):
        call_command("live_push_rotate_keys", stdout=out, stderr=err, verbosity=0)
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_it_says_in_words_what_is_missing(endpoint: ClientEndpoint) -> None:
    err = StringIO()
    with keys(NEW), pytest.raises(SystemExit):
        call_command("live_push_rotate_keys", stdout=StringIO(), stderr=err)
    assert (
        "clientendpoint.password: 1 can't be decrypted with any configured key. Put the missing key back"
        in err.getvalue()
    )


def test_check_and_dry_run_exclude_each_other() -> None:
    with pytest.raises(CommandError, match="not allowed with"):
        call_command("live_push_rotate_keys", "--check", "--dry-run")
